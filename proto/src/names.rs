//! Names of hosts, looked up one at a time each.
//!
//! A look-up cannot be given up: it holds a thread until the resolver is done, which takes tens of
//! seconds where a host is gone together with its name, or the name server with it. Whoever tries to
//! connect every second would soon have taken every thread there is for what blocks. So those who
//! want the same name wait for the same look-up, each as long as it likes.

use std::{
    collections::HashMap,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use futures_util::{
    FutureExt as _,
    future::{BoxFuture, Shared},
};

type Answer = Result<Arc<[SocketAddr]>, (io::ErrorKind, Arc<str>)>;
type LookUp = Shared<BoxFuture<'static, Answer>>;

/// Look-ups under way. Cloning shares them.
#[derive(Clone, Default)]
pub struct Names(Arc<Mutex<HashMap<Arc<str>, LookUp>>>);

impl Names {
    /// What the system's resolver knows of `HOST:PORT`. It may have been asked before this call:
    /// the answer is as old as the attempt of whoever waited for it in vain.
    pub async fn look_up(&self, address: &Arc<str>) -> io::Result<Arc<[SocketAddr]>> {
        self.look_up_by(address, |address| {
            let found = async move {
                let found = tokio::net::lookup_host(&*address).await;
                found.map(Iterator::collect)
            };
            found.boxed()
        })
        .await
    }

    async fn look_up_by(
        &self,
        address: &Arc<str>,
        resolve: impl FnOnce(Arc<str>) -> BoxFuture<'static, io::Result<Arc<[SocketAddr]>>>,
    ) -> io::Result<Arc<[SocketAddr]>> {
        let under_way = {
            let mut names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let start = || {
                let found = resolve(address.clone());
                let found =
                    found.map(|it| it.map_err(|error| (error.kind(), error.to_string().into())));
                found.boxed().shared()
            };
            names.entry(address.clone()).or_insert_with(start).clone()
        };
        let answer = under_way.clone().await;
        let mut names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Of those who waited together the first one ends it; by now there may be the next.
        if names.get(address).is_some_and(|it| it.ptr_eq(&under_way)) {
            names.remove(address);
        }
        answer.map_err(|(kind, message)| io::Error::new(kind, &*message))
    }
}

impl std::fmt::Debug for Names {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Names")
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicUsize, Ordering},
        time::Duration,
    };

    use tokio::{sync::oneshot, time::timeout};

    use super::*;

    #[tokio::test]
    async fn who_gives_up_leaves_the_look_up_to_the_next() {
        let names = Names::default();
        let address: Arc<str> = "n1:9095".into();
        let asked = AtomicUsize::new(0);
        let (answer, answered) = oneshot::channel::<()>();
        let mut answered = Some(answered);
        let mut slow = || {
            asked.fetch_add(1, Ordering::Relaxed);
            let answered = answered.take().expect("it is asked once");
            let found = async move {
                answered.await.expect("it is answered");
                Ok([SocketAddr::from(([10, 0, 0, 1], 9095))].into())
            };
            found.boxed()
        };
        let first = names.look_up_by(&address, |_| slow());
        timeout(Duration::ZERO, first).await.unwrap_err();
        let second = names.look_up_by(&address, |_| slow());
        answer.send(()).unwrap();
        let found = second.await.unwrap();
        assert_eq!(found[0].to_string(), "10.0.0.1:9095");
        assert_eq!(asked.load(Ordering::Relaxed), 1);

        let again = names.look_up_by(&address, |_| {
            async { Err(io::Error::from(io::ErrorKind::NotFound)) }.boxed()
        });
        assert_eq!(again.await.unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[tokio::test]
    async fn an_address_needs_no_resolver() {
        let found = Names::default().look_up(&"127.0.0.1:9095".into()).await.unwrap();
        assert_eq!(*found, [SocketAddr::from(([127, 0, 0, 1], 9095))]);
    }
}
