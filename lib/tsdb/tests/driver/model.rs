//! What a shard should hold, as a map of maps.

use std::collections::{BTreeMap, BTreeSet};

use super::{DAY, cell::Cell, retention, side::SideModel};

/// How old a sample may be that is not newer than its series' newest.
#[derive(Clone, Copy)]
pub enum Late {
    Never,
    InWindow,
    Always,
}

/// What a shard should hold, said in the simplest way.
#[derive(Debug, Clone)]
pub struct Model {
    pub samples: BTreeMap<usize, BTreeMap<i64, Cell>>,
    /// Newest time and sample of each series, also when retention has dropped the sample.
    pub newest: BTreeMap<usize, (i64, Cell)>,
    pub targets: BTreeMap<usize, (u64, BTreeSet<usize>)>,
    pub side: SideModel,
    /// The days on which each series is present, and of which class it is on them.
    pub present: BTreeMap<usize, BTreeMap<i64, u16>>,
    pub window: i64,
    /// The first time that is kept of each class.
    pub floors: BTreeMap<u16, i64>,
    pub rules: usize,
}

impl Model {
    pub fn new() -> Self {
        Self {
            samples: BTreeMap::new(),
            newest: BTreeMap::new(),
            targets: BTreeMap::new(),
            side: SideModel::default(),
            present: BTreeMap::new(),
            window: 30 * 60_000,
            floors: BTreeMap::new(),
            rules: 0,
        }
    }

    /// The class of a series' samples of a time.
    pub fn class(&self, series: usize, time: i64) -> u16 {
        let days = self.present.get(&series);
        let known = days.and_then(|days| days.get(&time.div_euclid(DAY)));
        known.copied().unwrap_or_else(|| retention::class(self.rules, series))
    }

    pub fn floor_of(&self, class: u16) -> i64 {
        self.floors.get(&class).copied().unwrap_or(i64::MIN)
    }

    pub fn keeps(&self, series: usize, time: i64) -> bool {
        time >= self.floor_of(self.class(series, time))
    }

    pub fn append(&mut self, series: usize, time: i64, mut cell: Cell, late: Late) {
        if !self.keeps(series, time) {
            return;
        }
        let class = self.class(series, time);
        let samples = self.samples.entry(series).or_default();
        if let (true, Some((_, newest))) = (cell.is_float_marker(), self.newest.get(&series)) {
            cell.value = newest.marker_behind();
        }
        match self.newest.get(&series) {
            // The newest stays known even when it was deleted.
            Some((newest, _)) if time == *newest => return,
            Some((newest, _)) if time < *newest => {
                let fits = match late {
                    Late::Never => false,
                    Late::InWindow => self.window > 0 && newest - time <= self.window,
                    Late::Always => true,
                };
                if !fits {
                    return;
                }
                samples.entry(time).or_insert(cell);
            }
            _ => {
                samples.insert(time, cell.clone());
                self.newest.insert(series, (time, cell));
            }
        }
        self.present.entry(series).or_default().insert(time.div_euclid(DAY), class);
    }

    pub fn delete(&mut self, series: usize, start: i64, end: i64) {
        let Some((newest, _)) = self.newest.get(&series) else { return };
        let newest = *newest;
        if let Some(samples) = self.samples.get_mut(&series) {
            samples.retain(|time, _| !(start..=end).contains(time));
        }
        let floors = self.floors.clone();
        let days = self.present.entry(series).or_default();
        days.retain(|day, class| {
            let (first, last) = (day * DAY, (day + 1) * DAY - 1);
            let floor = floors.get(class).copied().unwrap_or(i64::MIN);
            !(start <= first.max(floor) && (end >= last || end >= newest))
        });
        if days.is_empty() {
            self.newest.remove(&series);
            self.samples.remove(&series);
            for (_, scraped) in self.targets.values_mut() {
                scraped.remove(&series);
            }
        }
    }

    pub fn end(&mut self, series: usize, time: i64) {
        let Some((newest, cell)) = self.newest.get(&series) else { return };
        if !cell.is_stale() && time > *newest {
            self.append(series, time, Cell::float_marker(), Late::Never);
        }
    }

    pub fn scrape(&mut self, target: usize, slot: u64, time: i64, rows: &[(usize, u64)]) {
        if self.targets.get(&target).is_some_and(|(last, _)| slot <= *last) {
            return;
        }
        for &(series, bits) in rows {
            self.append(series, time, Cell::float(bits), Late::Never);
        }
        let seen: BTreeSet<usize> = rows.iter().map(|row| row.0).collect();
        let before = self.targets.insert(target, (slot, seen.clone()));
        for series in before.map_or(BTreeSet::new(), |(_, before)| before).difference(&seen) {
            self.end(*series, time);
        }
    }

    pub fn gone(&mut self, target: usize, time: i64) {
        for series in self.targets.remove(&target).map_or(BTreeSet::new(), |(_, all)| all) {
            self.end(series, time);
        }
    }

    pub fn horizon(&mut self, class: u16, time: i64) {
        if time <= self.floor_of(class) {
            return;
        }
        self.floors.insert(class, time);
        let first_day = time.div_euclid(DAY);
        if class == 0 {
            self.side.horizon(time);
        }
        for (series, days) in &mut self.present {
            if let Some(samples) = self.samples.get_mut(series) {
                let is_passed = |at: &i64| {
                    *at < time && days.get(&at.div_euclid(DAY)).is_some_and(|it| *it == class)
                };
                samples.retain(|at, _| !is_passed(at));
            }
            days.retain(|day, of| *day >= first_day || *of != class);
        }
        let ended_before = self.floors.values().map(|time| time.div_euclid(DAY) * DAY).max();
        let present = &self.present;
        self.newest.retain(|series, newest| {
            let is_present = present.get(series).is_some_and(|days| !days.is_empty());
            is_present || Some(newest.0) >= ended_before
        });
        // A removed series that comes back is another one, which no target has scraped.
        for (_, series) in self.targets.values_mut() {
            series.retain(|series| self.newest.contains_key(series));
        }
    }
}
