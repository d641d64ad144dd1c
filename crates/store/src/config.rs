base::section! {
    /// Where segments beyond the memory window, recordings and assets are kept.
    pub struct Config in "store" {
        /// Folder of the local object store; a relative one is below `server.data_dir`.
        path: String = "\"objects\"",
    }
}
