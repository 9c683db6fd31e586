//! What a target's last page said, kept so that the next one costs no label parsing.
//!
//! Pages of one target repeat the same series in the same order. The cache therefore guesses
//! that after a series comes the one that came after it last time, and the parser only compares.
//! A wrong guess costs a hash look-up.
//!
//! Invariants
//! * a cached text is a valid series: it was read once;
//! * after [`SeriesCache::commit`] the cache holds exactly the series of that page.

use hashbrown::HashTable;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Values of type `T` by the text of a series.
#[derive(Debug)]
pub struct SeriesCache<T> {
    slots: Vec<Slot<T>>,
    free: Vec<u32>,
    by_text: HashTable<u32>,
    /// Slots in the order of the last page.
    order: Vec<u32>,
    /// Slots in the order of the page that is being read.
    next_order: Vec<u32>,
    /// Where in `order` the page that is being read has come to.
    cursor: usize,
    page: u32,
    /// Series of the page that is being read, each counted once.
    seen: usize,
    hash_seed: u64,
}

#[derive(Debug)]
struct Slot<T> {
    text: Box<[u8]>,
    value: Option<T>,
    hash: u64,
    /// Index in `order`, or nowhere if it came with the page that is being read.
    position: Option<u32>,
    /// The last page that had it.
    page: u32,
}

impl<T> SeriesCache<T> {
    /// An empty cache. The seed keeps a target from choosing texts whose hashes collide.
    pub fn new(hash_seed: u64) -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            by_text: HashTable::new(),
            order: Vec::new(),
            next_order: Vec::new(),
            cursor: 0,
            page: 0,
            seen: 0,
            hash_seed,
        }
    }

    /// Series in the cache.
    pub fn len(&self) -> usize {
        self.by_text.len()
    }

    /// Whether nothing is cached.
    pub fn is_empty(&self) -> bool {
        self.by_text.is_empty()
    }

    /// Begins a page.
    pub fn begin(&mut self) {
        self.page = self.page.wrapping_add(1);
        self.cursor = 0;
        self.seen = 0;
        self.next_order.clear();
    }

    /// The text of the series that probably comes next.
    pub fn expected(&self) -> Option<&[u8]> {
        let slot = *self.order.get(self.cursor)?;
        Some(&self.slots[slot as usize].text)
    }

    /// The value of the series that [`SeriesCache::expected`] named.
    pub fn take_expected(&mut self) -> Option<&T> {
        let slot = *self.order.get(self.cursor)?;
        self.cursor += 1;
        self.note(slot)
    }

    /// The value of a series that was not the expected one.
    pub fn find(&mut self, text: &[u8]) -> Option<&T> {
        let hash = xxh3_64_with_seed(text, self.hash_seed);
        let slots = &self.slots;
        let slot = *self.by_text.find(hash, |&slot| *slots[slot as usize].text == *text)?;
        if let Some(position) = self.slots[slot as usize].position {
            self.cursor = position as usize + 1;
        }
        self.note(slot)
    }

    /// Adds a series that [`SeriesCache::find`] did not find.
    pub fn insert(&mut self, text: &[u8], value: T) -> &T {
        let hash = xxh3_64_with_seed(text, self.hash_seed);
        let page = self.page.wrapping_sub(1);
        let filled = Slot { text: text.into(), value: Some(value), hash, position: None, page };
        let slot = match self.free.pop() {
            Some(slot) => {
                self.slots[slot as usize] = filled;
                slot
            }
            None => {
                self.slots.push(filled);
                u32::try_from(self.slots.len() - 1).expect("a page has fewer than 2^32 series")
            }
        };
        let slots = &self.slots;
        self.by_text.insert_unique(hash, slot, |&slot| slots[slot as usize].hash);
        self.note(slot).expect("a slot in use has a value")
    }

    /// Keeps what the page had and forgets the rest.
    pub fn commit(&mut self) {
        std::mem::swap(&mut self.order, &mut self.next_order);
        for (position, &slot) in self.order.iter().enumerate() {
            self.slots[slot as usize].position = u32::try_from(position).ok();
        }
        if self.seen < self.by_text.len() {
            let page = self.page;
            self.forget(|slot| slot.page != page);
        }
    }

    /// Forgets what the page added: it could not be used.
    pub fn abort(&mut self) {
        self.forget(|slot| slot.position.is_none());
    }

    fn note(&mut self, slot: u32) -> Option<&T> {
        self.next_order.push(slot);
        let found = &mut self.slots[slot as usize];
        if found.page != self.page {
            found.page = self.page;
            self.seen += 1;
        }
        found.value.as_ref()
    }

    fn forget(&mut self, goes: impl Fn(&Slot<T>) -> bool) {
        let Self { slots, free, by_text, .. } = self;
        by_text.retain(|&mut at| {
            let slot = &mut slots[at as usize];
            let stays = !goes(slot);
            if !stays {
                slot.value = None;
                slot.text = Box::default();
                free.push(at);
            }
            stays
        });
    }
}
