//! Names for what threads of the blocking pool do, so that `top -H` and profiles tell it apart:
//! the pool's threads have the name of their runtime, whatever they work on.

use std::ffi::{CStr, CString};

/// Gives the thread its name back, after a panic, too.
struct Before(Option<CString>);

impl Drop for Before {
    fn drop(&mut self) {
        if let Some(name) = &self.0 {
            set(name);
        }
    }
}

/// Works under `name`, of which 15 bytes are kept.
pub(crate) fn named<T>(name: &CStr, work: impl FnOnce() -> T) -> T {
    let _before = Before(rustix::thread::name().ok());
    set(name);
    work()
}

fn set(name: &CStr) {
    // A thread with another thread's name works all the same.
    let _ = rustix::thread::set_name(name);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_has_the_name_while_it_works_and_not_after_a_panic() {
        let own = rustix::thread::name().unwrap();
        let during = named(c"checkpoint", || rustix::thread::name().unwrap());
        assert_eq!(
            (during.as_c_str(), rustix::thread::name().unwrap()),
            (c"checkpoint", own.clone())
        );
        let panics = || named(c"checkpoint", || panic!("the work fails"));
        assert!(std::panic::catch_unwind(panics).is_err());
        assert_eq!(rustix::thread::name().unwrap(), own);
    }
}
