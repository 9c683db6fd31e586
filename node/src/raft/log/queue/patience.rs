//! Whether entries of a group that this node leads may be synced late.
//!
//! An entry is committed once a majority has synced it, and the leader need not be one of them
//! (Ongaro, Consensus, 10.2.1). Where the followers suffice, what the leader writes may wait for a
//! sync that something else causes. Where they do not, waiting is a delay: that is noticed by
//! entries which waited in vain, and not known beforehand, so that it holds for any number of
//! members and for slow followers, too.
//!
//! No clock in here: entries are counted.

/// Entries that are not delayed after the first that was in vain. Twice as many after the next.
const SPARED_MIN: u32 = 64;
/// The most. A delay in so many is nothing.
const SPARED_MAX: u32 = 4096;

/// What a group has learned.
#[derive(Debug, Default)]
pub struct Patience {
    /// Still to be written without a delay.
    spared: u32,
    /// So many were the last time.
    spared_last: u32,
}

impl Patience {
    /// Whether the next entry may wait.
    pub fn allows(&mut self) -> bool {
        let allows = self.spared == 0;
        self.spared = self.spared.saturating_sub(1);
        allows
    }

    /// What waited for its whole time was committed meanwhile, or was not.
    pub fn learn(&mut self, committed: bool) {
        self.spared_last = match committed {
            true => 0,
            false => (2 * self.spared_last).clamp(SPARED_MIN, SPARED_MAX),
        };
        self.spared = self.spared_last;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spared(patience: &mut Patience) -> u32 {
        (0..).take_while(|_| !patience.allows()).count() as u32
    }

    #[test]
    fn delays_become_rare_where_they_are_in_vain() {
        let mut patience = Patience::default();
        assert_eq!(spared(&mut patience), 0);
        for expected in [64, 128, 256, 512, 1024, 2048, 4096, 4096] {
            patience.learn(false);
            assert_eq!(spared(&mut patience), expected);
        }
        patience.learn(true);
        assert_eq!(spared(&mut patience), 0);
        patience.learn(false);
        assert_eq!(spared(&mut patience), 64);
    }
}
