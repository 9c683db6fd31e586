//! A store in memory that can crash: for tests and simulations.

use std::{
    collections::{BTreeMap, VecDeque},
    ops::ControlFlow,
};

use parking_lot::Mutex;

use super::{Batch, KeyValue, KvError, Space, View, Visit, Write};

type Map = BTreeMap<(Space, Vec<u8>), Vec<u8>>;

/// Keeps what was flushed apart from what was only written.
#[derive(Debug, Default)]
pub struct MemoryKv {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    durable: Map,
    visible: Map,
    unflushed: VecDeque<Batch>,
    /// Operations that may still succeed; `None` is without end.
    operations_left: Option<u64>,
}

/// The failure that [`MemoryKv::fail_after`] asked for.
#[derive(Debug, thiserror::Error)]
#[error("injected failure")]
struct Injected;

impl MemoryKv {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// Loses what was not flushed, but for the oldest `keep` batches: a store may flush by itself.
    pub fn crash(&self, keep: usize) {
        let mut state = self.state.lock();
        let kept = keep.min(state.unflushed.len());
        let batches: Vec<_> = state.unflushed.drain(..kept).collect();
        for batch in batches {
            change(&mut state.durable, batch);
        }
        state.unflushed.clear();
        state.visible = state.durable.clone();
        state.operations_left = None;
    }

    /// Lets `operations` more writes and flushes succeed, then fails all until a crash.
    pub fn fail_after(&self, operations: u64) {
        self.state.lock().operations_left = Some(operations);
    }

    /// How many keys there are and how many bytes they and their values take.
    pub fn size(&self) -> (usize, usize) {
        let state = self.state.lock();
        let bytes = state.visible.iter().map(|((_, key), value)| key.len() + value.len()).sum();
        (state.visible.len(), bytes)
    }
}

impl State {
    fn spend(&mut self, step: &'static str) -> Result<(), KvError> {
        match &mut self.operations_left {
            Some(0) => Err(KvError { step, source: Box::new(Injected) }),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }
}

fn change(map: &mut Map, batch: Batch) {
    for write in batch.writes {
        match write {
            Write::Put { space, key, value } => drop(map.insert((space, key), value)),
            Write::Delete { space, key } => drop(map.remove(&(space, key))),
            Write::DeleteRange { space, start, end } if start < end => {
                let range = map.range((space, start)..(space, end));
                let keys: Vec<_> = range.map(|(key, _)| key.clone()).collect();
                keys.iter().for_each(|key| drop(map.remove(key)));
            }
            Write::DeleteRange { .. } => {}
        }
    }
}

/// A copy of what was visible.
struct MemoryView(Map);

impl View for MemoryView {
    fn scan(
        &self,
        space: Space,
        start: &[u8],
        end: &[u8],
        visit: &mut Visit<'_>,
    ) -> Result<(), KvError> {
        if start >= end {
            return Ok(());
        }
        for ((_, key), value) in self.0.range((space, start.to_vec())..(space, end.to_vec())) {
            if visit(key, value) == ControlFlow::Break(()) {
                break;
            }
        }
        Ok(())
    }
}

impl KeyValue for MemoryKv {
    fn write(&self, batch: Batch) -> Result<(), KvError> {
        let mut state = self.state.lock();
        state.spend("write batch")?;
        change(&mut state.visible, batch.clone());
        state.unflushed.push_back(batch);
        Ok(())
    }

    fn read(&self, space: Space, key: &[u8]) -> Result<Option<Vec<u8>>, KvError> {
        Ok(self.state.lock().visible.get(&(space, key.to_vec())).cloned())
    }

    fn read_persisted(&self, space: Space, key: &[u8]) -> Result<Option<Vec<u8>>, KvError> {
        Ok(self.state.lock().durable.get(&(space, key.to_vec())).cloned())
    }

    fn scan(
        &self,
        space: Space,
        start: &[u8],
        end: &[u8],
        visit: &mut Visit<'_>,
    ) -> Result<(), KvError> {
        if start >= end {
            return Ok(());
        }
        // Copied, so that the visitor may call the store.
        let range = (space, start.to_vec())..(space, end.to_vec());
        let found: Map = {
            let state = self.state.lock();
            state.visible.range(range).map(|(key, value)| (key.clone(), value.clone())).collect()
        };
        MemoryView(found).scan(space, start, end, visit)
    }

    fn view(&self) -> Box<dyn View + '_> {
        Box::new(MemoryView(self.state.lock().visible.clone()))
    }

    fn flush(&self) -> Result<(), KvError> {
        let mut state = self.state.lock();
        state.spend("flush")?;
        let batches: Vec<_> = state.unflushed.drain(..).collect();
        for batch in batches {
            change(&mut state.durable, batch);
        }
        Ok(())
    }

    fn drop_files(&self, _: Space, _: &[u8], _: &[u8]) -> Result<(), KvError> {
        Ok(())
    }

    fn file_bytes(&self, space: Space, start: &[u8], end: &[u8]) -> Result<u64, KvError> {
        let mut bytes = 0;
        self.scan(space, start, end, &mut |key, value| {
            bytes += (key.len() + value.len()) as u64;
            ControlFlow::Continue(())
        })?;
        Ok(bytes)
    }

    fn compact(&self, _: Space, _: &[u8], _: &[u8]) -> Result<(), KvError> {
        Ok(())
    }
}
