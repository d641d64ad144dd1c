base::section! {
    /// Where segments beyond the memory window, recordings and assets are kept.
    pub struct Config in "store" {
        /// The database: `postgres://USER:PASSWORD@HOST:PORT/NAME`, which several managers can share, or `sqlite:PATH`. Empty: the SQLite file `headwater.db` in `server.data_dir`.
        database: base::Secret = "\"\"",
        /// Folder of the local object store; a relative one is below `server.data_dir`.
        path: String = "\"objects\"",
        /// Bucket for the objects. Empty: they are files below `path`.
        s3_bucket: String = "\"\"",
        /// URL of the S3 service, such as `https://s3.example.org` or `http://127.0.0.1:9000`; plain HTTP is used when it says so. Empty: Amazon's.
        s3_endpoint: String = "\"\"",
        /// Region of the bucket; what servers without regions expect is the default.
        s3_region: String = "\"us-east-1\"",
        /// Access key id. Empty: the role that the machine has been given.
        s3_access_key_id: String = "\"\"",
        /// Secret access key.
        s3_secret: base::Secret = "\"\"",
        /// Folder in the bucket that is all of this platform's, such as `headwater`. Empty: the whole bucket.
        s3_prefix: String = "\"\"",
    }
}

impl Config {
    /// What [`Catalogue::open`](crate::Catalogue::open) opens. It may hold a password: it is not to be shown.
    pub fn database_url(&self, data_dir: &std::path::Path) -> String {
        match self.database.reveal() {
            "" => format!("sqlite:{}", data_dir.join("headwater.db").display()),
            url => url.to_owned(),
        }
    }
}
