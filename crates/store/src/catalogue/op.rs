//! How a method of the catalogue gives its transaction what it was given.

/// A transaction that can be run again: it owns copies of the named arguments, and each run borrows them.
///
/// `self.write(op!(id, patch; |tx| apply_patch(tx, id, patch)))`
macro_rules! op {
    ($($name:ident),* ; |$tx:ident| $run:expr) => {{
        let owned = ::std::sync::Arc::new(($($name.to_owned(),)*));
        move |$tx| {
            let owned = owned.clone();
            ::std::boxed::Box::pin(async move {
                let ($($name,)*) = &*owned;
                $run.await
            })
        }
    }};
}

pub(crate) use op;
