//! The thread of a camera, on a source that does what a test tells it.

use super::capture::{Capture, Encoding};
use super::error::CameraError;
use super::feed::{Backoff, Health, Picture, RealCamera};
use super::mode::Mode;
use super::source::{Opener, Source, SourceFault};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Long enough for the busiest machine; nothing waits this long when all is well.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the camera does next.
enum Do {
    /// A picture of this brightness.
    Show(u8),
    /// Bytes that are no picture.
    Break,
    /// The plug is pulled.
    Lose,
    /// The driver's code fails.
    Panic,
}

/// A camera on strings.
#[derive(Clone)]
struct Puppet {
    orders: Arc<Mutex<Receiver<Do>>>,
    /// Sizes it was opened for.
    opened: Arc<Mutex<Vec<(u32, u32)>>>,
    /// Attempts to open that fail.
    refusals: Arc<Mutex<u32>>,
}

impl Puppet {
    fn new() -> (Self, Sender<Do>) {
        let (sender, receiver) = channel();
        let orders = Arc::new(Mutex::new(receiver));
        (Self { orders, opened: Arc::default(), refusals: Arc::default() }, sender)
    }

    fn start(&self) -> RealCamera {
        let pause = Duration::from_millis(1);
        let backoff = Backoff { first: pause, longest: pause };
        RealCamera::start("front", "puppet", Box::new(self.clone()), ((4, 2), 30), backoff).unwrap()
    }
}

impl Opener for Puppet {
    fn open(&mut self, size: (u32, u32), _: u32) -> Result<Box<dyn Source>, CameraError> {
        let mut refusals = self.refusals.lock().unwrap();
        if *refusals > 0 {
            *refusals -= 1;
            return Err(CameraError::open("puppet", "not there", "plug it in"));
        }
        self.opened.lock().unwrap().push(size);
        Ok(Box::new(Self { ..self.clone() }))
    }
}

impl Source for Puppet {
    fn next(&mut self) -> Result<Capture<'_>, SourceFault> {
        let order = self.orders.lock().unwrap().recv_timeout(PATIENCE);
        let (encoding, data) = match order {
            Ok(Do::Show(value)) => (Encoding::Gray, vec![value; 8]),
            Ok(Do::Break) => (Encoding::Jpeg, vec![1, 2, 3]),
            Ok(Do::Panic) => panic!("as a driver may"),
            Ok(Do::Lose) | Err(_) => return Err(SourceFault::Lost("unplugged".into())),
        };
        Ok(Capture { encoding, width: 4, height: 2, data: data.into(), captured: Instant::now() })
    }

    fn mode(&self) -> Mode {
        Mode { width: 4, height: 2, fps: 30, encoding: Encoding::Gray }
    }

    fn suits(&self, (width, _): (u32, u32)) -> bool {
        width <= 8
    }
}

fn shown(camera: &RealCamera) -> Picture {
    assert!(camera.wait_for_picture(PATIENCE), "{:?}", camera.health());
    let (mut picture, mut health) = (Picture::default(), Health::default());
    while !camera.take(&mut picture, &mut health) {}
    picture
}

#[test]
fn the_newest_picture_is_handed_over_once() {
    let (puppet, orders) = Puppet::new();
    let camera = puppet.start();
    for value in [10, 20, 30] {
        orders.send(Do::Show(value)).unwrap();
    }
    assert!(camera.wait(PATIENCE, |health| health.pictures == 3));
    let picture = shown(&camera);
    assert_eq!((picture.width, picture.height, picture.rgb), (4, 2, vec![30; 24]));
    assert!(picture.captured.is_some());
    let (mut again, mut health) = (Picture::default(), Health::default());
    assert!(!camera.take(&mut again, &mut health), "the same picture twice");
    assert_eq!((health.pictures, health.bytes, health.connected), (3, 24, true));
    drop(orders);
}

#[test]
fn a_lost_camera_is_opened_again_until_it_is_back() {
    let (puppet, orders) = Puppet::new();
    let camera = puppet.start();
    orders.send(Do::Show(1)).unwrap();
    assert_eq!(shown(&camera).rgb[0], 1);
    *puppet.refusals.lock().unwrap() = 3;
    orders.send(Do::Lose).unwrap();
    assert!(camera.wait(PATIENCE, |health| health.losses == 1));
    orders.send(Do::Show(2)).unwrap();
    assert_eq!(shown(&camera).rgb[0], 2);
    let health = camera.health();
    assert_eq!((health.losses, health.connected, health.problem), (1, true, None));
    assert_eq!(puppet.opened.lock().unwrap().len(), 2);
    // A driver that fails is a camera lost, not a program ended.
    orders.send(Do::Panic).unwrap();
    orders.send(Do::Show(3)).unwrap();
    assert_eq!(shown(&camera).rgb[0], 3);
    assert_eq!(camera.health().losses, 2);
    drop(orders);
}

#[test]
fn broken_pictures_are_counted_and_too_many_open_it_again() {
    let (puppet, orders) = Puppet::new();
    let camera = puppet.start();
    orders.send(Do::Break).unwrap();
    orders.send(Do::Show(7)).unwrap();
    assert_eq!(shown(&camera).rgb[0], 7);
    let health = camera.health();
    assert_eq!((health.broken, health.losses, health.pictures), (1, 0, 1));
    assert!(health.problem.is_some());
    for _ in 0..30 {
        orders.send(Do::Break).unwrap();
    }
    assert!(camera.wait(PATIENCE, |health| health.losses == 1 && health.broken == 31));
    orders.send(Do::Show(8)).unwrap();
    assert_eq!(shown(&camera).rgb[0], 8);
    drop(orders);
}

#[test]
fn pictures_come_in_the_size_asked_for() {
    let (puppet, orders) = Puppet::new();
    let camera = puppet.start();
    orders.send(Do::Show(1)).unwrap();
    assert_eq!(shown(&camera).rgb.len(), 4 * 2 * 3);
    // Within what the source delivers; then beyond it, for which it is opened anew.
    for (size, opened) in [((2, 2), 1), ((16, 8), 2)] {
        camera.want(size);
        // The one being waited for may still have the size before.
        orders.send(Do::Show(2)).unwrap();
        orders.send(Do::Show(3)).unwrap();
        orders.send(Do::Show(3)).unwrap();
        let picture = shown(&camera);
        assert_eq!((picture.width, picture.height), size);
        assert_eq!(picture.rgb.len(), (size.0 * size.1 * 3) as usize);
        assert!(puppet.opened.lock().unwrap().len() >= opened);
    }
    drop(orders);
}

#[test]
fn a_camera_that_is_not_there_says_why() {
    let (puppet, orders) = Puppet::new();
    *puppet.refusals.lock().unwrap() = u32::MAX;
    let camera = puppet.start();
    assert!(camera.wait(PATIENCE, |health| health.problem.is_some()));
    assert!(!camera.health().connected);
    assert!(camera.health().problem.unwrap().contains("plug it in"));
    assert!(!camera.wait_for_picture(Duration::from_millis(20)));
    drop(orders);
}
