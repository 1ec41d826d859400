//! The simulated worlds for learners outside: Gymnasium-like environments behind a socket, many worlds in one call.
//!
//! A message is two lengths (32 bits each, least significant byte first), a JSON header of the first length and raw bytes of
//! the second. docs/serve-env.md lists the requests. Numbers of joints are LeRobot's, as in datasets.

use crate::app::{Loaded, RunOptions};
use crate::camera::{CameraFrame, CameraSensor, CamerasInUse};
use crate::control::Look;
use crate::episode::{EndReason, EpisodePhase};
use crate::generate::{LookAhead, Upright};
use crate::headless::Headless;
use crate::joint_units::JointUnits;
use crate::record::{CameraWish, RecordError, set_up_cameras};
use crate::robot::{Arm, JointCommand};
use crate::world;
use serde_json::{Value, json};
use std::io::{self, Read, Write};
use std::sync::mpsc::{Receiver, Sender, channel};
use thiserror::Error;

/// Version of the protocol.
pub const PROTOCOL: u32 = 1;
/// No header or payload is larger, bytes.
const LARGEST: u32 = 1 << 30;

/// Why an environment cannot be served.
#[derive(Debug, Error)]
pub enum ServeError {
    /// The cameras do not fit.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// There is no simulated arm.
    #[error("there is no simulated arm in the scene; serve without --arm real")]
    NoArm,
    /// A thread could not be started.
    #[error("a thread could not be started: {0}; serve fewer --worlds")]
    Thread(io::Error),
    /// The connection failed.
    #[error("the client's connection: {0}")]
    Connection(#[from] io::Error),
}

/// What is served.
#[derive(Clone, Debug)]
pub struct Service {
    /// Worlds.
    pub worlds: usize,
    /// Threads they are spread over.
    pub threads: usize,
    /// Cameras of every observation.
    pub cameras: Vec<CameraWish>,
}

/// A request of the client.
#[derive(Debug, PartialEq)]
struct Message {
    header: Value,
    payload: Vec<u8>,
}

/// Reads a message; `None` at the end of the connection.
fn read_message(from: &mut impl Read) -> io::Result<Option<Message>> {
    let mut lengths = [0u8; 8];
    match from.read_exact(&mut lengths) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    }
    let length = |at: usize| u32::from_le_bytes([lengths[at], lengths[at + 1], lengths[at + 2], lengths[at + 3]]);
    let (head, body) = (length(0), length(4));
    if head > 1 << 20 || body > LARGEST {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a message is impossibly long"));
    }
    let mut take = |length: u32| {
        // Grows with what really arrives: a wrong length shall not take the memory.
        let mut bytes = Vec::new();
        from.by_ref().take(length.into()).read_to_end(&mut bytes)?;
        if bytes.len() == length as usize { Ok(bytes) } else { Err(io::Error::from(io::ErrorKind::UnexpectedEof)) }
    };
    let (header, payload) = (take(head)?, take(body)?);
    let header = serde_json::from_slice(&header)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, format!("a header is no JSON: {error}")))?;
    Ok(Some(Message { header, payload }))
}

fn write_message(to: &mut impl Write, header: &Value, payload: &[u8]) -> io::Result<()> {
    let header = header.to_string();
    let mut head = Vec::with_capacity(8 + header.len());
    head.extend_from_slice(&(header.len() as u32).to_le_bytes());
    head.extend_from_slice(&(payload.len() as u32).to_le_bytes());
    head.extend_from_slice(header.as_bytes());
    to.write_all(&head)?;
    to.write_all(payload)?;
    to.flush()
}

/// What a world shall do.
enum Request {
    Reset(u64),
    Step(Vec<f32>),
}

/// What a world reports.
#[derive(Clone, Debug, Default)]
struct Report {
    /// Joints, then five numbers a prop.
    numbers: Vec<f32>,
    /// The cameras' pictures, one after the other.
    pictures: Vec<u8>,
    reward: f32,
    terminated: bool,
    truncated: bool,
    /// What the episode asks for.
    instruction: String,
}

struct Task {
    world: usize,
    request: Request,
}

/// One environment.
struct OneWorld {
    headless: Headless,
    arm: Arm,
    units: JointUnits,
    look: LookAhead,
    cameras: Vec<String>,
}

impl OneWorld {
    fn new(loaded: &Loaded, options: &RunOptions, cameras: &[CameraWish]) -> Result<Self, ServeError> {
        let mut headless = Headless::from_loaded(loaded, options);
        let world = headless.app.world_mut();
        set_up_cameras(world, cameras)?;
        world.insert_resource(CamerasInUse::None);
        let mut look = LookAhead::new(world);
        let arm = look.arm(world).ok_or(ServeError::NoArm)?;
        let units = JointUnits::new(&arm.model);
        Ok(Self { headless, units, arm, look, cameras: cameras.iter().map(|wish| wish.name.clone()).collect() })
    }

    fn carry_out(&mut self, request: &Request) -> Result<Report, String> {
        match request {
            Request::Reset(seed) => self.headless.start(*seed).map_err(|error| error.to_string())?,
            Request::Step(action) => {
                if self.headless.episode().phase == EpisodePhase::Idle {
                    return Err("a world must be reset before its first step".into());
                }
                // A finished world stays as it is until it is reset.
                if self.headless.episode().phase == EpisodePhase::Running {
                    for (joint, q) in self.arm.joints.iter().zip(self.units.to_rad(action)) {
                        if let Some(mut command) = self.headless.app.world_mut().get_mut::<JointCommand>(*joint) {
                            command.position_rad = q;
                        }
                    }
                    self.headless.tick();
                }
            }
        }
        self.report()
    }

    fn report(&mut self) -> Result<Report, String> {
        let world = self.headless.app.world_mut();
        let present = self.look.present(world, &self.arm).ok_or("the simulation is gone")?;
        let props = world.resource::<world::ActiveScene>().nominal.props.len();
        let mut pictures = Vec::new();
        if !self.cameras.is_empty() {
            world.insert_resource(CamerasInUse::Named(self.cameras.clone()));
            world.run_schedule(Look);
            world.insert_resource(CamerasInUse::None);
            let mut frames = world.query::<(&CameraSensor, &CameraFrame)>();
            for name in &self.cameras {
                let frame = frames.iter(world).find(|(sensor, _)| sensor.config.name == *name);
                pictures.extend_from_slice(&frame.ok_or_else(|| format!("camera {name} gave no picture"))?.1.rgb);
            }
        }
        let mut numbers = self.units.to_lerobot(&present.reported_rad);
        // What else lies about in a drawn world is no part of the observation.
        for prop in present.props.iter().take(props) {
            let prop = Upright::of(prop);
            let (sin, cos) = prop.yaw_rad.sin_cos();
            numbers.extend([prop.at_m.x, prop.at_m.y, prop.at_m.z, cos, sin].map(|value| value as f32));
        }
        let episode = self.headless.episode();
        let outcome = episode.outcome();
        let terminated = outcome.is_some_and(|o| matches!(o.reason, EndReason::Success | EndReason::Diverged(_)));
        Ok(Report {
            numbers,
            pictures,
            reward: episode.score.value as f32,
            terminated,
            truncated: outcome.is_some() && !terminated,
            instruction: self.headless.app.world().resource::<world::Order>().text.clone(),
        })
    }
}

/// Threads with worlds.
struct Pool {
    orders: Vec<Sender<Vec<Task>>>,
    reports: Receiver<Vec<(usize, Result<Report, String>)>>,
}

impl Pool {
    fn start(loaded: &Loaded, options: &RunOptions, service: &Service) -> Result<Self, ServeError> {
        let (told, reports) = channel();
        let (ready, heard) = channel();
        let threads = service.threads.clamp(1, service.worlds.max(1));
        let mut orders = Vec::new();
        for thread in 0..threads {
            let (order, taken) = channel::<Vec<Task>>();
            orders.push(order);
            let (loaded, options, service) = (loaded.clone(), options.clone(), service.clone());
            let (told, ready) = (told.clone(), ready.clone());
            let builder = std::thread::Builder::new().name(format!("worlds-{thread}"));
            let run = move || {
                let mine = (thread..service.worlds).step_by(threads);
                let worlds: Result<Vec<OneWorld>, ServeError> =
                    mine.map(|_| OneWorld::new(&loaded, &options, &service.cameras)).collect();
                let mut worlds = match worlds {
                    Ok(worlds) => worlds,
                    Err(error) => {
                        let _ = ready.send(Err(error));
                        return;
                    }
                };
                // Nobody listening means that the service has ended.
                let _ = ready.send(Ok(()));
                for tasks in taken {
                    let done = tasks
                        .iter()
                        .map(|task| (task.world, worlds[task.world / threads].carry_out(&task.request)))
                        .collect();
                    if told.send(done).is_err() {
                        return;
                    }
                }
            };
            builder.spawn(run).map_err(ServeError::Thread)?;
        }
        drop(ready);
        for _ in 0..threads {
            heard.recv().unwrap_or(Err(ServeError::NoArm))?;
        }
        Ok(Self { orders, reports })
    }

    /// Has all tasks done; the reports are in their order.
    fn run(&self, tasks: Vec<Task>) -> Result<Vec<Report>, String> {
        let order: Vec<usize> = tasks.iter().map(|task| task.world).collect();
        let mut shares: Vec<Vec<Task>> = self.orders.iter().map(|_| Vec::new()).collect();
        for task in tasks {
            let thread = task.world % shares.len();
            shares[thread].push(task);
        }
        let mut waiting = 0;
        for (orders, share) in self.orders.iter().zip(shares).filter(|(_, share)| !share.is_empty()) {
            orders.send(share).map_err(|_| "a thread of worlds has ended")?;
            waiting += 1;
        }
        let mut found = std::collections::BTreeMap::new();
        for _ in 0..waiting {
            found.extend(self.reports.recv().map_err(|_| "the threads of worlds have ended")?);
        }
        order
            .iter()
            .map(|world| found.remove(world).unwrap_or_else(|| Err(format!("world {world} is silent"))))
            .collect()
    }
}

/// Worlds ready to be served.
pub struct Server {
    pool: Pool,
    service: Service,
    spaces: Value,
    joints: usize,
}

impl Server {
    /// Builds the worlds.
    ///
    /// # Errors
    /// [`ServeError`] for an unknown camera or a scene without a simulated arm.
    pub fn new(loaded: &Loaded, options: &RunOptions, service: Service) -> Result<Self, ServeError> {
        let pool = Pool::start(loaded, options, &service)?;
        let units = JointUnits::new(&loaded.model);
        let scene = &loaded.scene.scene;
        let of = |q: &dyn Fn(&crate::arm::Joint) -> f64| {
            units.to_lerobot(&loaded.model.joints.iter().map(q).collect::<Vec<_>>())
        };
        let size = |wish: &CameraWish| {
            let found = scene.cameras.iter().find(|camera| camera.name == wish.name);
            wish.size.or(found.map(|camera| (camera.width, camera.height))).unwrap_or_default()
        };
        let cameras: Vec<Value> = (service.cameras.iter().map(|wish| (&wish.name, size(wish))))
            .map(|(name, (width, height))| json!({"name": name, "width": width, "height": height}))
            .collect();
        let spaces = json!({
            "protocol": PROTOCOL,
            "task": loaded.scene.name,
            "instruction": scene.instruction,
            "worlds": service.worlds,
            "hz": loaded.rate.hz,
            "time_limit_s": scene.time_limit_s,
            "joints": units.names(),
            "low": of(&|joint| joint.lower),
            "high": of(&|joint| joint.upper),
            "props": scene.props.iter().map(|prop| prop.name.clone()).collect::<Vec<_>>(),
            "cameras": cameras,
        });
        let joints = units.names().len();
        Ok(Self { pool, service, spaces, joints })
    }

    /// Serves one client until it leaves.
    ///
    /// # Errors
    /// When the connection breaks.
    pub fn serve(&self, mut stream: impl Read + Write) -> Result<(), ServeError> {
        while let Some(message) = read_message(&mut stream)? {
            match self.answer(&message) {
                Ok((header, payload)) => write_message(&mut stream, &header, &payload)?,
                Err(problem) => write_message(&mut stream, &json!({"error": problem}), &[])?,
            }
        }
        Ok(())
    }

    fn answer(&self, message: &Message) -> Result<(Value, Vec<u8>), String> {
        let header = &message.header;
        match header.get("op").and_then(Value::as_str) {
            Some("spaces") => Ok((self.spaces.clone(), Vec::new())),
            Some("reset") => {
                let worlds = self.worlds(header)?;
                let seeds = header
                    .get("seeds")
                    .and_then(Value::as_array)
                    .map(|seeds| seeds.iter().map(Value::as_u64).collect::<Option<Vec<u64>>>());
                let seeds = seeds.flatten().filter(|seeds| seeds.len() == worlds.len());
                let seeds = seeds.ok_or("reset: give \"seeds\", one whole number a world")?;
                let tasks = worlds.iter().zip(seeds);
                self.observe(tasks.map(|(world, seed)| Task { world: *world, request: Request::Reset(seed) }).collect())
            }
            Some("step") => {
                let worlds = self.worlds(header)?;
                let values: Vec<f32> = message
                    .payload
                    .chunks_exact(4)
                    .map(|bytes| f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
                    .collect();
                if message.payload.len() != worlds.len() * self.joints * 4 {
                    let wanted = format!("{} worlds x {} joints float32", worlds.len(), self.joints);
                    return Err(format!("step: {} bytes of actions instead of {wanted}", message.payload.len()));
                }
                if values.iter().any(|value| !value.is_finite()) {
                    return Err("step: an action is not a finite number".into());
                }
                let tasks = worlds.iter().zip(values.chunks_exact(self.joints));
                self.observe(
                    tasks.map(|(world, q)| Task { world: *world, request: Request::Step(q.to_vec()) }).collect(),
                )
            }
            _ => Err("\"op\": give spaces, reset or step".into()),
        }
    }

    /// The worlds a request is about; all without a list.
    fn worlds(&self, header: &Value) -> Result<Vec<usize>, String> {
        let Some(list) = header.get("worlds").filter(|list| !list.is_null()) else {
            return Ok((0..self.service.worlds).collect());
        };
        let number = |value: &Value| value.as_u64().map(|n| n as usize).filter(|n| *n < self.service.worlds);
        let found: Option<Vec<usize>> = list.as_array().and_then(|list| list.iter().map(number).collect());
        let mut sorted = found.clone().unwrap_or_default();
        sorted.sort_unstable();
        sorted.dedup();
        found.filter(|found| found.len() == sorted.len()).ok_or_else(|| {
            format!("\"worlds\": give different numbers from 0 to {}", self.service.worlds.saturating_sub(1))
        })
    }

    fn observe(&self, tasks: Vec<Task>) -> Result<(Value, Vec<u8>), String> {
        let reports = self.pool.run(tasks)?;
        let mut payload = Vec::with_capacity(reports.iter().map(|r| r.pictures.len() + r.numbers.len() * 4).sum());
        for report in &reports {
            report.numbers.iter().for_each(|value| payload.extend_from_slice(&value.to_le_bytes()));
        }
        reports.iter().for_each(|report| payload.extend_from_slice(&report.pictures));
        let header = json!({
            "instruction": reports.iter().map(|report| report.instruction.as_str()).collect::<Vec<_>>(),
            "reward": reports.iter().map(|report| report.reward).collect::<Vec<_>>(),
            "terminated": reports.iter().map(|report| report.terminated).collect::<Vec<_>>(),
            "truncated": reports.iter().map(|report| report.truncated).collect::<Vec<_>>(),
        });
        Ok((header, payload))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn messages_come_back_as_they_were_sent() {
        let mut bytes = Vec::new();
        write_message(&mut bytes, &json!({"op": "step", "worlds": [1, 2]}), &[1, 2, 3]).unwrap();
        let message = read_message(&mut bytes.as_slice()).unwrap().unwrap();
        assert_eq!((message.header["worlds"][1].as_u64(), message.payload.as_slice()), (Some(2), &[1u8, 2, 3][..]));
        assert_eq!(read_message(&mut [].as_slice()).unwrap(), None);
        bytes.pop();
        assert!(read_message(&mut bytes.as_slice()).is_err());
    }

    proptest! {
        #[test]
        fn noise_is_no_message_and_no_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = read_message(&mut bytes.as_slice());
        }
    }
}
