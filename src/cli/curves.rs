//! `etude curves`: the curves of a training run, live, in a window or in a picture.

use super::{CliError, say};
use crate::dataset::export;
use crate::policy::curves::Curves;
use crate::view::{curves::show, paint};
use crate::window::{WindowError, open_page};
use bevy_egui::egui::{self, Color32, Context, Frame, Id, Margin, Pos2};
use clap::Args;
use std::path::{Path, PathBuf};

/// Size of window and picture, pixels.
const SIZE: (u32, u32) = (1100, 720);
/// Background.
const BACKGROUND: [u8; 3] = [35, 40, 47];
/// Margin around the page, points.
const MARGIN: i8 = 14;
/// Time between two looks at the run's folder, s.
const LOOK_S: f64 = 0.5;

/// Options of `etude curves`.
#[derive(Args, Debug)]
pub(super) struct CurvesArgs {
    /// Folder of the run, the --out of `etude train`.
    run: PathBuf,
    /// Draw the curves into this picture instead of opening a window; needs no display.
    #[arg(long, value_name = "FILE.png")]
    png: Option<PathBuf>,
}

pub(super) fn curves(args: &CurvesArgs) -> Result<(), CliError> {
    let mut curves = Curves::of(&args.run);
    curves.update().map_err(|problem| {
        CliError::Usage(format!(
            "{}: no curves ({problem}); name the folder of a run of `etude train`",
            args.run.display()
        ))
    })?;
    let Some(file) = &args.png else {
        return open(&args.run).map_err(|fault| match fault {
            WindowError::NoDisplay(_) | WindowError::NoAdapter(_) => {
                CliError::Window(format!("{fault}; --png FILE.png draws the curves without one"))
            }
            other => CliError::Window(other.to_string()),
        });
    };
    let title = title(&args.run);
    let image = paint::picture(SIZE.0 as usize, SIZE.1 as usize, BACKGROUND, |ui| {
        Frame::NONE.inner_margin(Margin::same(MARGIN)).show(ui, |ui| show(ui, &title, &curves));
    });
    export::png(&image, file)?;
    say(format!("{}: {}x{} pixels", file.display(), image.width, image.height))
}

/// Opens a window that follows the run in a folder, which may not have begun yet, and stays until it is closed.
///
/// # Errors
/// [`WindowError`] without a display or driver.
pub(super) fn open(run: &Path) -> Result<(), WindowError> {
    let (mut curves, title) = (Curves::of(run), title(run));
    let (mut since_s, window) = (LOOK_S, format!("Etude: {title}"));
    let [red, green, blue] = BACKGROUND;
    let page = move |context: &Context, dt_s: f64| {
        since_s += dt_s;
        if since_s >= LOOK_S {
            since_s = 0.0;
            // Before the run has begun there is no file; then the page says that it waits.
            let _ = curves.update();
        }
        let screen = context.content_rect();
        egui::Area::new(Id::new("curves")).fixed_pos(Pos2::ZERO).constrain(false).show(context, |ui| {
            ui.set_clip_rect(screen);
            ui.painter().rect_filled(screen, 0.0, Color32::from_rgb(red, green, blue));
            let margin = f32::from(MARGIN);
            ui.scope_builder(egui::UiBuilder::new().max_rect(screen.shrink(margin)), |ui| show(ui, &title, &curves));
        });
        false
    };
    open_page(&window, SIZE, 0, Box::new(page))
}

fn title(run: &Path) -> String {
    format!("training in {}", run.display())
}
