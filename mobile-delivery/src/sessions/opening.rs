//! From a hello to a session that has its device: the token, the claim, the lane.

use std::sync::Arc;
use std::time::{Duration, Instant};

use broker_topology::Device as Queue;
use door::auth::Caller;
use door::current::Current;
use door::problem::{Code, Problem};
use futures::FutureExt;
use futures::future::BoxFuture;
use messaging::devices::{Attachment, Lane, LaneError};
use tokio::sync::oneshot;

use super::Sessions;
use super::claiming::{Begun, Coming, NotBegun};
use super::tenure::{Identity, Tenure};
use crate::lane::{lane_of, queue_of};
use crate::protocol::{Close, Hello};
use crate::store::{Device, Left, MAIN, Standing, StoreError, Temperature, Transport};

/// The longest wait before a lane is tried again.
const REST: Duration = Duration::from_secs(20);

/// A token that was verified, or is still to be.
pub(crate) struct Bearer {
    pub(crate) caller: Arc<Caller>,
    /// Seconds since the Unix epoch.
    pub(crate) expires: i64,
    /// The device that it is, where that was looked up already.
    pub(crate) device: Option<Box<Device>>,
}

impl Bearer {
    /// When it runs out. A clock that is set meanwhile is not minded.
    pub(super) fn until(&self) -> Option<Instant> {
        let left = self.expires.saturating_sub(jiff::Timestamp::now().as_second()).max(0);
        Instant::now().checked_add(Duration::from_secs(left.unsigned_abs()))
    }
}

/// Why a session does not begin.
pub(super) type Refused = (Close, String);

/// A queue that is known to be there, and the broker it is at.
struct There {
    queue: Queue,
    shard: String,
}

/// The lane of a session: there, or on its way.
pub(super) enum LaneState {
    None,
    Opening(BoxFuture<'static, Attachment>),
    At(Box<Attachment>),
}

/// A session that has its device.
pub(super) struct Opened {
    pub(super) tenure: Tenure,
    pub(super) lane: LaneState,
    /// Nothing is to be read up to this `seq`, which was given last: what comes, the lane brings.
    pub(super) caught_up: Option<i64>,
    /// Where the device stands with the log.
    pub(super) standing: Standing,
    pub(super) until: Option<Instant>,
}

/// How a refusal over HTTP is said on a socket.
pub(super) fn refused(problem: &Problem) -> Refused {
    let close = match problem.code {
        Code::TokenMissing | Code::TokenInvalid => Close::TokenInvalid,
        Code::TooManyBadTokens => Close::RateLimited,
        Code::ScopeMissing | Code::ViaDiffers => Close::NotAllowed,
        Code::DeviceNotFound => Close::DeviceUnknown,
        Code::DeviceRevoked => Close::DeviceRevoked,
        Code::StoreUnavailable => Close::Unavailable,
        _ => Close::Internal,
    };
    (close, problem.detail.to_string())
}

impl Sessions {
    /// Who shows this token.
    pub(crate) fn bearer(&self, token: &[u8]) -> Result<Bearer, Problem> {
        let (caller, expires) = self.0.verifier.verify_until(token)?;
        Ok(Bearer { caller, expires, device: None })
    }

    /// The device that a caller is.
    pub(crate) async fn admit(&self, caller: &Caller) -> Result<Device, Problem> {
        let device = crate::http::admit(&*self.0.stores.devices, caller).await?;
        let via = device.registration.via;
        if via.is_broker() {
            let detail = format!("the device was registered with `via` = `{}`: the broker has its messages", via.name());
            return Err(Problem::new(Code::ViaDiffers, detail));
        }
        Ok(device)
    }

    /// Claims a device, together with whoever else comes.
    pub(super) async fn claim(&self, device: &Device, transport: Transport) -> Result<Begun, NotBegun> {
        let (reply, begun) = oneshot::channel();
        self.0.coming.put(Coming { identity: Arc::new(Identity::of(device)), transport, reply });
        let gone = || Err(NotBegun::Away(StoreError::Unavailable("the process is shutting down".to_owned())));
        begun.await.unwrap_or_else(|_| gone())
    }

    /// Opens the session of a hello. Its lane may come later: the rows do not wait for the broker.
    pub(super) async fn open(
        self,
        hello: Box<Hello>,
        transport: Transport,
        bearer: Option<Bearer>,
        current: Option<Current>,
    ) -> Result<Opened, Refused> {
        let mut bearer = match (bearer, &hello.token) {
            (Some(bearer), _) => bearer,
            (None, Some(token)) => {
                let verify = async { self.bearer(token.0.as_bytes()) };
                let verified = match current {
                    Some(current) => current.scope(verify).await,
                    None => verify.await,
                };
                verified.map_err(|problem| refused(&problem))?
            }
            (None, None) => {
                let what = "there is no token: send `Authorization: Bearer <token>`, or `token` in the `hello`";
                return Err((Close::TokenInvalid, what.to_owned()));
            }
        };
        if bearer.caller.subject != hello.device {
            return Err((Close::NotAllowed, "the token is for another device than `device` names".to_owned()));
        }
        let device = match bearer.device.take() {
            Some(device) => *device,
            None => self.admit(&bearer.caller).await.map_err(|problem| refused(&problem))?,
        };
        let begun = self.claim(&device, transport).await.map_err(|why| match why {
            NotBegun::Revoked => (Close::DeviceRevoked, "the device was revoked".to_owned()),
            NotBegun::Unknown => (Close::DeviceUnknown, "the device was removed: register it again".to_owned()),
            NotBegun::Away(error) => {
                tracing::debug!(error = %error, "cannot claim a device");
                (Close::Unavailable, "the store does not answer: come back".to_owned())
            }
        })?;
        let Begun { tenure, caught_up, hot, standing } = begun;
        let prefetch = hello.window.messages;
        let stays = |shard: &String| self.0.shards.wanted(device.number, Some(shard)) == shard;
        let there = hot.filter(stays).map(|shard| There { queue: queue_of(device.number, device.queue_tier), shard });
        let mut lane = self.clone().lane(tenure.identity.clone(), tenure.fence, there, prefetch);
        let (lane, at_once) = match tokio::time::timeout(self.0.options.lane_within, &mut lane).await {
            Ok((attachment, at_once)) => (LaneState::At(Box::new(attachment)), at_once),
            Err(_) => (LaneState::Opening(lane.map(|(attachment, _)| attachment).boxed()), false),
        };
        Ok(Opened { tenure, lane, caught_up: caught_up.filter(|_| at_once), standing, until: bearer.until() })
    }

    /// The lane of a device, however long it takes; and whether it was `there`, as it is known to be.
    fn lane(
        self,
        identity: Arc<Identity>,
        fence: i64,
        there: Option<There>,
        prefetch: u16,
    ) -> BoxFuture<'static, (Attachment, bool)> {
        let opening = async move {
            let mut there = there;
            let mut rest = Duration::from_millis(500);
            loop {
                let was_there = there.is_some();
                match self.attach(&identity, fence, there.as_ref(), prefetch).await {
                    Ok(attachment) => return (attachment, was_there),
                    Err(LaneError::Stopped) => std::future::pending().await,
                    Err(error) => {
                        if matches!(error, LaneError::Gone { .. }) && there.take().is_some() {
                            continue;
                        }
                        tracing::debug!(error = %error, device = identity.number.0, "a session has no lane yet, and goes by rows");
                    }
                }
                tokio::time::sleep(rest.mul_f64(jitter())).await;
                rest = (rest * 2).min(REST);
            }
        };
        opening.boxed()
    }

    /// Attached anew, after the queue had gone, or to one at another broker.
    pub(super) fn lane_anew(&self, tenure: &Tenure, prefetch: u16) -> BoxFuture<'static, Attachment> {
        let (identity, fence) = (tenure.identity.clone(), tenure.fence);
        self.clone().lane(identity, fence, None, prefetch).map(|(attachment, _)| attachment).boxed()
    }

    /// Attaches; what is not known to be there is declared where it belongs, and told to the store before anything is read. A lane that was elsewhere
    /// is taken along.
    async fn attach(
        &self,
        identity: &Identity,
        fence: i64,
        there: Option<&There>,
        prefetch: u16,
    ) -> Result<Attachment, LaneError> {
        let inner = &self.0;
        if let Some(there) = there {
            return inner.shards.open(&there.shard)?.attach(there.queue, prefetch).await;
        }
        let unavailable = |why: String| LaneError::Away { what: "look at the device".to_owned(), why, after: Duration::ZERO };
        let found = inner.stores.devices.get(&identity.tenant, &identity.id).await;
        let found = found.map_err(|error| unavailable(error.to_string()))?;
        let device = found.filter(|device| device.number == identity.number);
        let device = device.ok_or_else(|| unavailable("it was removed".to_owned()))?;
        let at = (device.temperature == Temperature::Hot).then_some(device.queue_shard.as_str());
        let shard = inner.shards.wanted(identity.number, at);
        let lanes = inner.shards.open(shard)?;
        let mut tier = device.queue_tier;
        // Where it has none yet, and would not be looked for if this process died in a moment.
        if at != Some(shard) && (at.is_some() || shard != MAIN) {
            let left = Left { shard: shard.to_owned(), device: identity.number, tier, since: database::clock::now() };
            let left = inner.stores.lanes.leave(&left).await;
            left.map_err(|error| unavailable(error.to_string()))?;
        }
        loop {
            let queue = queue_of(identity.number, tier);
            lanes.ensure(Lane { device: queue, ..lane_of(&device) }).await?;
            let warm = inner.stores.lanes.warm(identity.number, shard, Some(fence), database::clock::now()).await;
            let lane = warm.map_err(|error| unavailable(error.to_string()))?;
            match lane {
                None => return Err(unavailable("it was removed".to_owned())),
                Some(lane) if lane.shard != shard => return Err(unavailable("a newer session has it".to_owned())),
                // It was made by another tier meanwhile, and keeps that.
                Some(lane) if lane.tier != tier => tier = lane.tier,
                Some(_) => return lanes.attach(queue, prefetch).await,
            }
        }
    }
}

/// 0.5 to 1.5, so that those who lost something together do not come back together.
fn jitter() -> f64 {
    0.5 + f64::from(uuid::Uuid::new_v4().as_bytes()[0]) / 255.0
}
