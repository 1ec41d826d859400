//! `etude dataset view`: look through a dataset in a window, or draw an episode into a picture.

use super::{CliError, dataset, say};
use crate::dataset::check::{self, CheckOptions};
use crate::dataset::export;
use crate::view::model::Model;
use crate::view::page::{self, Pictures};
use crate::view::sheet::sheet;
use crate::view::state::View;
use crate::window::{WindowError, open_page};
use bevy_egui::egui::Context;
use clap::Args;
use std::path::PathBuf;

/// Options of `etude dataset view`.
#[derive(Args, Debug)]
pub(super) struct ViewArgs {
    /// Folder of the dataset.
    dataset: PathBuf,
    /// The episode to begin with, or to draw.
    #[arg(long, default_value_t = 0, value_name = "NUMBER")]
    episode: usize,
    /// Draw the episode into this picture instead of opening a window; needs no display.
    #[arg(long, value_name = "FILE.png")]
    png: Option<PathBuf>,
    /// Pictures of each camera in it.
    #[arg(long, default_value_t = 8, value_name = "COUNT", value_parser = clap::value_parser!(u8).range(2..=24))]
    pictures: u8,
    /// The arm whose joint limits are looked at: a name in configs/arm/ or a .ron file.
    #[arg(long, default_value = "so100", value_name = "NAME")]
    arm: String,
}

pub(super) fn view(args: &ViewArgs) -> Result<(), CliError> {
    let opened = dataset::open(&args.dataset)?;
    opened.episode(args.episode)?;
    let limits = dataset::limits(&opened, &args.arm)?;
    if let Some(file) = &args.png {
        let model = Model::open(&args.dataset)?;
        let options = CheckOptions { limits, ..CheckOptions::default() };
        let report = check::one(&model.dataset, args.episode, &options)?;
        let sheet = sheet(&model, args.episode, args.pictures.into(), &report.findings)?;
        export::png(&sheet, file)?;
        return say(format!("{}: episode {}, {}x{} pixels", file.display(), args.episode, sheet.width, sheet.height));
    }
    drop(opened);
    let mut view = View::open(args.dataset.clone(), args.episode, limits)?;
    let mut pictures = Pictures::default();
    let page = move |context: &Context, dt_s: f64| {
        let soon = view.pass(dt_s);
        page::show(context, &mut view, &mut pictures);
        soon
    };
    let title = format!("Etude: {}", args.dataset.display());
    open_page(&title, (1280, 720), 0, Box::new(page)).map_err(|fault| match fault {
        WindowError::NoDisplay(_) | WindowError::NoAdapter(_) => {
            CliError::Window(format!("{fault}; --png FILE.png draws an episode without one"))
        }
        other => CliError::Window(other.to_string()),
    })
}
