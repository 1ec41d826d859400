//! Recording in the window: keys and buttons reach the desk, the desk follows each frame.

use super::actions::Session;
use super::ghost::GhostChoice;
use crate::recording::desk::{self, Desk, News};
use crate::recording::keys::{KEYS, action_of};
use crate::recording::session::{Action, Phase};
use bevy::prelude::*;
use bevy_egui::input::EguiWantsInput;

/// Something a person asks the desk for.
#[derive(Message, Clone, Copy, Debug, PartialEq)]
pub struct Ask(pub Action);

/// Gets the news of the desk, which the panels show only for a while.
type Tell = Box<dyn FnMut(News) + Send + Sync>;

#[derive(Resource)]
struct Teller(Tell);

/// Adds recording to a window whose world has a [`Desk`]; `tell` gets its news.
pub fn add(app: &mut App, tell: impl FnMut(News) + Send + Sync + 'static) {
    app.insert_resource(Teller(Box::new(tell)));
    let mut session = app.world_mut().resource_mut::<Session>();
    session.cameras = true;
    session.ghost = GhostChoice::Off;
    app.add_message::<Ask>();
    app.add_systems(PreUpdate, read_keys.after(bevy_egui::EguiPreUpdateSet::BeginPass));
    app.add_systems(Update, attend.in_set(super::UiSystems::Act));
}

fn read_keys(
    keys: Res<ButtonInput<KeyCode>>,
    egui: Res<EguiWantsInput>,
    session: Res<Session>,
    mut asks: MessageWriter<Ask>,
) {
    // Esc closes the help first.
    if egui.wants_any_keyboard_input() || session.help {
        return;
    }
    for key in KEYS {
        if let Some(code) = key.code.filter(|code| keys.just_pressed(*code))
            && let Some(action) = action_of(code)
        {
            asks.write(Ask(action));
        }
    }
}

fn attend(world: &mut World) {
    let asks: Vec<Ask> = world.resource_mut::<Messages<Ask>>().drain().collect();
    for Ask(action) in asks {
        desk::act(world, action);
    }
    let dt_s = world.resource::<Time<Real>>().delta_secs_f64();
    desk::run(world, dt_s);
    tell(world);
    let desk = world.resource::<Desk>();
    let (time_stands, stopped) = (desk.time_stands(), matches!(desk.session.phase(), Phase::Stopped(_)));
    world.resource_mut::<Session>().paused = time_stands;
    if stopped {
        desk::finish(world);
        tell(world);
        world.write_message(AppExit::Success);
    }
}

fn tell(world: &mut World) {
    world.resource_scope(|world, mut desk: Mut<Desk>| {
        let mut teller = world.resource_mut::<Teller>();
        while let Some(news) = desk.next_news() {
            teller.0(news);
        }
    });
}
