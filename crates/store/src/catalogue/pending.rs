pub(super) use super::jobs::{cancel_jobs_of, insert_job};
