//! Bugs that the simulation must find (`docs/simulation.md`).
//!
//! A run of the simulation has a process of its own, which plants one of them or none. Only tests
//! can: in a program [`is_planted`] is a constant, and nothing of a bug is compiled.

/// A bug.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(not(test), expect(dead_code, reason = "some are planted in the simulated disk"))]
pub(crate) enum Planted {
    /// Entries are acknowledged before they are synced.
    AckBeforeSync,
    /// Votes are acknowledged and never synced.
    VoteNotSynced,
    /// A restarted replica lacks the last entry it has synced.
    ShortenedLog,
    /// A read asks no majority, whatever became of the leadership.
    ReadOfOwnState,
    /// A read does not wait until what it must see is applied.
    ReadBeforeApply,
    /// A new leader owns its shard before it has applied what it was elected with.
    ReadyBeforeApply,
    /// A leader that hears no majority goes on owning its shard.
    ReadyAlone,
    /// A proposal that may be lost is acknowledged.
    LostIsAcknowledged,
    /// What apply does depends on more than the entry and the state.
    ApplyReadsConfig,
    /// What one shard's owner writes to another shard is not fenced.
    ForeignUnfenced,
    /// A scrape leaves all samples in the shard of its target.
    ForeignKept,
    /// A new owner begins with the slot that is under way.
    SlotRepeated,
    /// An owner that lost its shard goes on scraping.
    OwnerStays,
    /// A learner votes before it has the log.
    PromotedTooEarly,
    /// A move is over while its members still change.
    MoveEndsTooEarly,
    /// A request that is repeated is done again.
    RequestRepeated,
    /// A request is answered before it is committed.
    AnsweredTooEarly,
}

/// Whether a bug is planted: in a program never.
#[cfg(not(test))]
pub(crate) const fn is_planted(_: Planted) -> bool {
    false
}

#[cfg(test)]
pub(crate) use self::planting::{is_planted, plant};

#[cfg(test)]
mod planting {
    use std::sync::OnceLock;

    use super::Planted;

    static PLANTED: OnceLock<Planted> = OnceLock::new();

    /// Plants a bug in this process.
    pub(crate) fn plant(bug: Planted) {
        PLANTED.set(bug).expect("one bug is planted in a process");
    }

    pub(crate) fn is_planted(bug: Planted) -> bool {
        PLANTED.get() == Some(&bug)
    }

    impl Planted {
        /// Each of them.
        pub(crate) const ALL: [Self; 17] = [
            Self::AckBeforeSync,
            Self::VoteNotSynced,
            Self::ShortenedLog,
            Self::ReadOfOwnState,
            Self::ReadBeforeApply,
            Self::ReadyBeforeApply,
            Self::ReadyAlone,
            Self::LostIsAcknowledged,
            Self::ApplyReadsConfig,
            Self::ForeignUnfenced,
            Self::ForeignKept,
            Self::SlotRepeated,
            Self::OwnerStays,
            Self::PromotedTooEarly,
            Self::MoveEndsTooEarly,
            Self::RequestRepeated,
            Self::AnsweredTooEarly,
        ];
    }
}
