//! The brokers that devices are spread over: which one a device belongs at, and the lanes at each.
//!
//! Derives where a device belongs ([`place`](crate::rules::place)) from those shards that may take it: that take devices at all, and that every process
//! that lives has, since any of them may be the one that relays. Where its lane is, is the store's ([`Lane::shard`](crate::store::Lane::shard)); the two differ until its session has
//! taken the lane along (ADR 59).
//!
//! Whether a shard is away says nothing about who belongs there: a broker that restarts would have all its devices move, twice. While it is, its
//! devices go by rows.

use std::sync::Arc;

use messaging::devices::{LaneError, Lanes, MAIN};
use tokio::sync::watch;

use crate::processes::Processes;
use crate::rules::place;
use crate::store::Number;

/// A broker beside the main one.
pub struct Shard {
    /// The lanes there; they know its name.
    pub lanes: Lanes,
    /// Whether it takes devices; else it is emptied.
    pub takes: bool,
    /// Why nothing is to be declared there, while that is so.
    pub unfit: watch::Receiver<Option<String>>,
}

/// All of them. Cheap to clone.
#[derive(Clone)]
pub struct Shards(Arc<Inner>);

struct Inner {
    main: Lanes,
    others: Vec<Shard>,
    /// Who else has which; `None` where there is the main one alone.
    processes: Option<Arc<Processes>>,
}

impl From<Lanes> for Shards {
    /// The main one alone.
    fn from(main: Lanes) -> Self {
        Self(Arc::new(Inner { main, others: Vec::new(), processes: None }))
    }
}

impl Shards {
    /// The main one and others, which this process has joined `processes` with.
    pub fn new(main: Lanes, others: Vec<Shard>, processes: Arc<Processes>) -> Self {
        Self(Arc::new(Inner { main, others, processes: Some(processes) }))
    }

    fn other(&self, shard: &str) -> Option<&Shard> {
        self.0.others.iter().find(|other| other.lanes.shard() == shard)
    }

    /// The main one: for devices that the broker serves.
    pub fn main(&self) -> &Lanes {
        &self.0.main
    }

    /// The lanes at a broker; `None` when this process does not have it.
    pub fn lanes(&self, shard: &str) -> Option<&Lanes> {
        if shard == MAIN { Some(&self.0.main) } else { self.other(shard).map(|other| &other.lanes) }
    }

    /// The same, for whoever makes a queue there.
    ///
    /// # Errors
    /// [`LaneError::Shut`] when this process does not have it, or it is not fit.
    pub fn open(&self, shard: &str) -> Result<&Lanes, LaneError> {
        if shard == MAIN {
            return Ok(&self.0.main);
        }
        let shut = |why: String| LaneError::Shut { shard: shard.to_owned(), why };
        let other = self.other(shard).ok_or_else(|| shut("it is not in the configuration of this process".to_owned()))?;
        let unfit = other.unfit.borrow().clone();
        unfit.map_or(Ok(&other.lanes), |why| Err(shut(why)))
    }

    /// Whether all processes that live have it, so that a lane there is filled whoever relays it.
    pub fn is_shared(&self, shard: &str) -> bool {
        shard == MAIN || self.0.processes.as_ref().is_some_and(|processes| processes.share(shard))
    }

    /// Where a device belongs.
    pub fn place(&self, device: Number) -> &str {
        let takes = self.0.others.iter().filter(|other| other.takes).map(|other| other.lanes.shard());
        let shared = takes.filter(|shard| self.is_shared(shard));
        place(device, std::iter::once(MAIN).chain(shared)).unwrap_or(MAIN)
    }

    /// Where the lane of a device is to be that is `at` some broker now, or at none: where it belongs, unless nothing can be made there at this time and
    /// it can stay.
    pub fn wanted<'a>(&'a self, device: Number, at: Option<&'a str>) -> &'a str {
        let place = self.place(device);
        let is_open = |shard: &str| self.open(shard).is_ok_and(Lanes::is_up);
        match at {
            Some(at) if at != place && !is_open(place) && is_open(at) => at,
            _ => place,
        }
    }

    /// The brokers that can be asked for something: all that are up. Where the main one is alone it always counts: what is for it waits on the way.
    pub fn up(&self) -> Vec<&str> {
        if self.0.others.is_empty() {
            return vec![MAIN];
        }
        let all = std::iter::once(&self.0.main).chain(self.0.others.iter().map(|other| &other.lanes));
        all.filter(|lanes| lanes.is_up()).map(Lanes::shard).collect()
    }

    /// All beside the main one, with what is wrong about each, if anything is.
    pub fn faults(&self) -> Vec<(String, Option<String>)> {
        let fault = |other: &Shard| {
            let away = || (!other.lanes.is_up()).then(|| "there is no connection to it, or it takes nothing".to_owned());
            other.unfit.borrow().clone().or_else(away)
        };
        self.0.others.iter().map(|other| (other.lanes.shard().to_owned(), fault(other))).collect()
    }

    /// Those that are emptied.
    pub fn emptied(&self) -> impl Iterator<Item = &str> {
        self.0.others.iter().filter(|other| !other.takes).map(|other| other.lanes.shard())
    }
}
