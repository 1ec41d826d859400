//! The window of an emulated arm: what its servos feel, and a hand that moves it while it is limp.

use super::panels::EDGE;
use super::theme::{self, ACCENT, BAD, FAINT, GOOD, TEXT};
use crate::backend::sim::PropPoses;
use crate::bus::registers::Register;
use crate::bus::virtual_bus::arms::ends_rad;
use crate::bus::virtual_bus::sim_port::SharedBus;
use crate::window::stage::Show;
use bevy::prelude::KeyCode;
use bevy_egui::egui::{self, Align2, Context, Grid, RichText, Ui};
use bevy_rapier3d::rapier::math::Pose;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, PoisonError};

/// Width of the card, points.
const WIDTH: f32 = 330.0;

/// An emulated arm on a stage.
pub struct VirtualArmShow {
    bus: SharedBus,
    props: PropPoses,
    orders: Sender<String>,
    over: Arc<AtomicBool>,
    port: String,
    /// Where the hand holds the joints, degrees, once it does.
    hand_deg: Option<Vec<f64>>,
}

/// What is shown of one servo.
struct Servo {
    name: &'static str,
    angle_rad: f64,
    torque_on: bool,
    load: f64,
    temperature_c: f64,
    trouble: Vec<&'static str>,
}

impl VirtualArmShow {
    /// A show of the arm on `bus` at `port`, with `props` around it; what the hand shall do is sent to `orders`, in the words
    /// that can be typed, too. It is over when `over` says so.
    pub fn new(bus: SharedBus, props: PropPoses, orders: Sender<String>, over: Arc<AtomicBool>, port: &Path) -> Self {
        Self { bus, props, orders, over, port: port.display().to_string(), hand_deg: None }
    }

    fn order(&self, words: impl Into<String>) {
        if self.orders.send(words.into()).is_err() {
            self.over.store(true, Ordering::SeqCst);
        }
    }

    fn servos(&self) -> Vec<Servo> {
        let bus = self.bus.lock();
        let servos = bus.servos().iter().zip(bus.motions()).zip(crate::bus::registers::JOINT_NAMES);
        servos
            .map(|((servo, motion), name)| Servo {
                name,
                angle_rad: motion.position_rad,
                torque_on: servo.get(Register::TORQUE_ENABLE) == 1,
                load: motion.load,
                temperature_c: f64::from(servo.get(Register::PRESENT_TEMPERATURE)),
                trouble: if servo.status().is_ok() { Vec::new() } else { servo.status().words() },
            })
            .collect()
    }

    /// Sliders of a limp arm.
    fn hand(&mut self, ui: &mut Ui, servos: &[Servo]) {
        theme::section(ui, "your hand");
        let shown: Vec<f64> = servos.iter().map(|servo| servo.angle_rad.to_degrees()).collect();
        let mut wanted = self.hand_deg.clone().unwrap_or_else(|| shown.clone());
        let mut moved = false;
        Grid::new("hand").num_columns(2).spacing([10.0, 4.0]).show(ui, |ui| {
            ui.spacing_mut().slider_width = 150.0;
            for (index, (servo, (lower, upper))) in servos.iter().zip(ends_rad()).enumerate() {
                let Some(angle) = wanted.get_mut(index) else { continue };
                ui.label(theme::faint(servo.name.replace('_', " ")));
                let range = lower.to_degrees()..=upper.to_degrees();
                moved |= ui.add(egui::Slider::new(angle, range).fixed_decimals(0).suffix("°")).dragged();
                ui.end_row();
            }
        });
        if moved {
            let angles: Vec<String> = wanted.iter().map(|angle| format!("{angle:.1}")).collect();
            self.order(format!("pose {}", angles.join(" ")));
            self.hand_deg = Some(wanted);
        }
        ui.horizontal(|ui| {
            for (label, words) in [("Middle", "middle"), ("Fold", "fold"), ("Wave", "wave"), ("Let go", "still")] {
                if ui.button(label).clicked() {
                    self.order(words);
                    self.hand_deg = None;
                }
            }
        });
    }
}

impl Show for VirtualArmShow {
    fn poses_rad(&mut self, _time_s: f64) -> Vec<Option<Vec<f64>>> {
        vec![Some(self.bus.lock().motions().iter().map(|motion| motion.position_rad).collect())]
    }

    fn props(&mut self) -> Vec<Pose> {
        self.props.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn panels(&mut self, ctx: &Context) {
        let servos = self.servos();
        let limp = servos.iter().all(|servo| !servo.torque_on);
        theme::place_card(ctx, "virtual arm", Align2::LEFT_TOP, [EDGE, EDGE], WIDTH, |ui| {
            ui.label(RichText::new(&self.port).size(16.0).strong());
            ui.label(theme::faint("an emulated arm; any program for a real one can open this port"));
            ui.add_space(2.0);
            theme::section(ui, "servos");
            Grid::new("servos").num_columns(5).spacing([9.0, 4.0]).show(ui, |ui| {
                for servo in &servos {
                    ui.label(RichText::new(servo.name.replace('_', " ")).size(12.5).color(TEXT));
                    ui.label(RichText::new(format!("{:6.1}°", servo.angle_rad.to_degrees())).monospace().color(TEXT));
                    let (words, colour) = if servo.torque_on { ("torque", ACCENT) } else { ("limp", FAINT) };
                    ui.label(RichText::new(words).size(12.0).color(colour));
                    let load = format!("{:4.0} %", servo.load * 100.0);
                    ui.label(RichText::new(load).monospace().color(if servo.load.abs() > 0.7 { BAD } else { FAINT }));
                    let hot = servo.temperature_c > 60.0;
                    let degrees = format!("{:.0} °C", servo.temperature_c);
                    ui.label(RichText::new(degrees).size(12.0).color(if hot { BAD } else { FAINT }));
                    ui.end_row();
                    if !servo.trouble.is_empty() {
                        ui.label("");
                        ui.label(RichText::new(servo.trouble.join(", ")).size(12.0).color(BAD));
                        ui.end_row();
                    }
                }
            });
            if limp {
                self.hand(ui, &servos);
            } else {
                self.hand_deg = None;
                ui.add_space(4.0);
                ui.label(RichText::new("Driven by a program").size(13.0).color(GOOD));
            }
            ui.horizontal(|ui| {
                if ui.button("Pull the cable for 2 s").clicked() {
                    self.order("unplug 2");
                }
            });
        });
    }

    fn key(&mut self, key: KeyCode) {
        if key == KeyCode::Escape {
            self.over.store(true, Ordering::SeqCst);
        }
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }
}
