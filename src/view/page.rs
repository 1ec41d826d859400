//! The page of the viewer: list of episodes, cameras, time line, joints and score, findings, edits.

use super::model::Entry;
use super::plots::{self, ACTION_COLOUR, STATE_COLOUR};
use super::sheet::{colour_of, joint_plot, score_plot, texture};
use super::state::{Command, View};
use crate::dataset::Outcome;
use crate::dataset::check::Severity;
use crate::ui::theme::{self, ACCENT, BAD, FAINT, GOOD, GROOVE, TEXT};
use bevy_egui::egui::{
    self, Align2, Color32, Context, FontId, Id, Key, Modifiers, Pos2, Rect, RichText, ScrollArea, Sense, TextureHandle,
    TextureOptions, Ui, UiBuilder, Vec2,
};

const LIST: f32 = 272.0;
const GAP: f32 = 8.0;
const LINE: f32 = 44.0;
const TIME: f32 = 64.0;
const FINDINGS: f32 = 96.0;

/// Keys and what they do, for reading and for the help line.
const KEYS: &[(Modifiers, Key, Command)] = &[
    (Modifiers::NONE, Key::Space, Command::Play),
    // Before the arrows alone, which would take them too.
    (Modifiers::SHIFT, Key::ArrowRight, Command::Move(10)),
    (Modifiers::SHIFT, Key::ArrowLeft, Command::Move(-10)),
    (Modifiers::NONE, Key::ArrowRight, Command::Move(1)),
    (Modifiers::NONE, Key::ArrowLeft, Command::Move(-1)),
    (Modifiers::NONE, Key::Home, Command::Seek(0)),
    (Modifiers::NONE, Key::End, Command::Seek(usize::MAX >> 16)),
    (Modifiers::NONE, Key::ArrowDown, Command::Step(1)),
    (Modifiers::NONE, Key::ArrowUp, Command::Step(-1)),
    (Modifiers::NONE, Key::PageDown, Command::Step(10)),
    (Modifiers::NONE, Key::PageUp, Command::Step(-10)),
    (Modifiers::NONE, Key::I, Command::MarkFirst),
    (Modifiers::NONE, Key::O, Command::MarkLast),
    (Modifiers::NONE, Key::T, Command::Trim),
    (Modifiers::NONE, Key::Delete, Command::Delete),
    (Modifiers::NONE, Key::Y, Command::Judge(Outcome::Success)),
    (Modifiers::NONE, Key::F, Command::Judge(Outcome::Failure)),
    (Modifiers::NONE, Key::Num1, Command::Segment(0)),
    (Modifiers::NONE, Key::Num2, Command::Segment(1)),
    (Modifiers::NONE, Key::Num3, Command::Segment(2)),
    (Modifiers::NONE, Key::U, Command::Undo),
    (Modifiers::COMMAND, Key::Z, Command::Undo),
];

/// Pictures on the screen: which row of which episode each camera's texture shows.
#[derive(Default)]
pub struct Pictures(Vec<(usize, usize, TextureHandle)>);

/// Draws the page and carries out what the person asks for. `generation` of the pictures is renewed by edits through
/// [`Pictures::default`].
pub fn show(context: &Context, view: &mut View, pictures: &mut Pictures) {
    let mut commands: Vec<Command> = Vec::new();
    context.input_mut(|input| {
        for (modifiers, key, command) in KEYS {
            let times = input.count_and_consume_key(*modifiers, *key);
            commands.extend(std::iter::repeat_n(command.clone(), times));
        }
    });
    let screen = context.content_rect();
    egui::Area::new(Id::new("view")).fixed_pos(Pos2::ZERO).constrain(false).show(context, |ui| {
        ui.set_clip_rect(screen);
        ui.painter().rect_filled(screen, 0.0, Color32::from_rgb(35, 40, 47));
        let inner = screen.shrink(GAP);
        let list = Rect::from_min_size(inner.min, Vec2::new(LIST, inner.height()));
        let rest = Rect::from_min_max(Pos2::new(list.right() + GAP, inner.top()), inner.max);
        part(ui, list, |ui| episodes(ui, view, &mut commands));
        episode(ui, rest, view, pictures, &mut commands);
    });
    for command in commands {
        use Command::{Delete, Judge, Segment, Trim, Undo};
        let is_edit = matches!(command, Trim | Delete | Undo | Judge(_) | Segment(_));
        view.act(command);
        if is_edit {
            pictures.0.clear();
        }
    }
}

/// A card with its own layout.
fn part(ui: &mut Ui, rect: Rect, add: impl FnOnce(&mut Ui)) {
    ui.scope_builder(UiBuilder::new().max_rect(rect), |ui| {
        theme::card().show(ui, |ui| {
            let room = rect.size() - Vec2::new(24.0, 20.0);
            ui.set_min_size(room);
            ui.set_max_size(room);
            add(ui);
        });
    });
}

fn episodes(ui: &mut Ui, view: &View, commands: &mut Vec<Command>) {
    let root = view.model.dataset.root();
    let name = root.file_name().map_or_else(|| root.display().to_string(), |name| name.to_string_lossy().into_owned());
    ui.label(RichText::new(name).size(17.0).strong()).on_hover_text(root.display().to_string());
    let entries = &view.model.entries;
    let seconds: f64 = entries.iter().map(|entry| entry.seconds).sum();
    let count = |wanted: Option<bool>| entries.iter().filter(|entry| entry.success == wanted).count();
    let plural = if entries.len() == 1 { "" } else { "s" };
    ui.label(theme::faint(format!("{} episode{plural}, {:.1} min", entries.len(), seconds / 60.0)));
    ui.horizontal(|ui| {
        for (count, words, colour) in
            [(count(Some(true)), "done", GOOD), (count(Some(false)), "failed", BAD), (count(None), "not judged", FAINT)]
        {
            if count > 0 {
                ui.label(RichText::new(format!("{count} {words}")).size(12.0).color(colour));
            }
        }
        if view.is_checking() {
            ui.label(theme::faint("checking"));
        }
    });
    ui.add_space(4.0);
    let height = ui.available_height();
    let shown = ScrollArea::vertical().max_height(height).auto_shrink([false, false]);
    shown.show_rows(ui, LINE, entries.len(), |ui, lines| {
        for index in lines {
            let (rect, response) = ui.allocate_exact_size(Vec2::new(ui.available_width(), LINE), Sense::click());
            line(ui, rect, view, &entries[index], response.hovered());
            if response.clicked() {
                commands.push(Command::Select(index));
            }
        }
    });
}

fn line(ui: &Ui, rect: Rect, view: &View, entry: &Entry, hovered: bool) {
    let painter = ui.painter();
    let rect = rect.shrink2(Vec2::new(0.0, 1.0));
    if entry.index == view.selected {
        painter.rect_filled(rect, 5.0, Color32::from_rgb(92, 62, 26));
    } else if hovered {
        painter.rect_filled(rect, 5.0, GROOVE);
    }
    let dot = rect.left_top() + Vec2::new(12.0, 14.0);
    match entry.success {
        Some(true) => painter.circle_filled(dot, 5.0, GOOD),
        Some(false) => painter.circle_filled(dot, 5.0, BAD),
        None => painter.circle_stroke(dot, 4.5, (1.5, FAINT)),
    };
    let at = |x: f32, y: f32| rect.left_top() + Vec2::new(x, y);
    let strong = FontId::proportional(13.5);
    painter.text(at(26.0, 5.0), Align2::LEFT_TOP, format!("episode {}", entry.index), strong.clone(), TEXT);
    let small = FontId::proportional(11.5);
    let right = rect.right() - 8.0;
    let seconds = format!("{:.1} s", entry.seconds);
    painter.text(Pos2::new(right, rect.top() + 5.0), Align2::RIGHT_TOP, seconds, strong, TEXT);
    let tags = if entry.tags.is_empty() { String::new() } else { format!("  #{}", entry.tags.join(" #")) };
    let clip = painter.with_clip_rect(Rect::from_min_max(rect.min, Pos2::new(right - 70.0, rect.bottom())));
    clip.text(at(26.0, 23.0), Align2::LEFT_TOP, format!("{}{tags}", entry.source), small.clone(), FAINT);
    let (words, colour) = match view.worst(entry.index) {
        None => ("…".to_string(), FAINT),
        Some((_, 0)) => ("fine".to_string(), GOOD),
        Some((severity, 1)) => ("1 finding".to_string(), colour_of(severity)),
        Some((severity, count)) => (format!("{count} findings"), colour_of(severity)),
    };
    painter.text(Pos2::new(right, rect.top() + 23.0), Align2::RIGHT_TOP, words, small, colour);
}

fn episode(ui: &mut Ui, rect: Rect, view: &mut View, pictures: &mut Pictures, commands: &mut Vec<Command>) {
    let Some(entry) = view.model.entries.get(view.selected).cloned() else {
        ui.painter().text(rect.center(), Align2::CENTER_CENTER, "no episode", FontId::proportional(20.0), FAINT);
        return;
    };
    let head = Rect::from_min_size(rect.min, Vec2::new(rect.width(), 24.0));
    let text = format!("\"{}\"", entry.task);
    ui.painter().text(head.left_center(), Align2::LEFT_CENTER, text, FontId::proportional(15.0), TEXT);
    let legend = FontId::proportional(12.5);
    let right = ui.painter().text(head.right_center(), Align2::RIGHT_CENTER, "target", legend.clone(), ACTION_COLOUR);
    let at = right.left_center() - Vec2::new(10.0, 0.0);
    ui.painter().text(at, Align2::RIGHT_CENTER, "measured", legend, STATE_COLOUR);
    let cameras = Rect::from_min_size(
        Pos2::new(rect.left(), head.bottom() + GAP),
        Vec2::new(rect.width(), if view.model.cameras.is_empty() { 0.0 } else { rect.height() * 0.40 }),
    );
    show_cameras(ui, cameras, view, pictures);
    let time = Rect::from_min_size(Pos2::new(rect.left(), cameras.bottom() + GAP), Vec2::new(rect.width(), TIME));
    time_line(ui, time, view, commands);
    let found = Rect::from_min_max(Pos2::new(rect.left(), rect.bottom() - FINDINGS), rect.max);
    let curves =
        Rect::from_min_max(Pos2::new(rect.left(), time.bottom() + GAP), Pos2::new(rect.right(), found.top() - GAP));
    show_plots(ui, curves, view, commands);
    part(ui, found, |ui| findings(ui, view, &entry, commands));
}

fn show_cameras(ui: &mut Ui, rect: Rect, view: &mut View, pictures: &mut Pictures) {
    let count = view.model.cameras.len();
    if count == 0 {
        return;
    }
    let width = (rect.width() - GAP * (count - 1) as f32) / count as f32;
    let row = view.row();
    let from = view.model.dataset.episodes().get(view.selected).map_or(0, |episode| episode.from);
    let mut complaint = None;
    for (index, (key, name)) in view.model.cameras.iter().enumerate() {
        let place = Rect::from_min_size(
            Pos2::new(rect.left() + index as f32 * (width + GAP), rect.top()),
            Vec2::new(width, rect.height()),
        );
        ui.painter().rect_filled(place, 6.0, Color32::from_rgb(18, 21, 25));
        let here = (view.selected, row);
        let known = pictures.0.len();
        let is_new = pictures.0.get(index).is_none_or(|shown| (shown.0, shown.1) != here);
        if is_new {
            match view.model.dataset.frame(from + row, key) {
                Ok(image) => {
                    let image = texture(&image);
                    match pictures.0.get_mut(index) {
                        Some(shown) => {
                            shown.2.set(image, TextureOptions::LINEAR);
                            (shown.0, shown.1) = here;
                        }
                        None if known == index => {
                            let handle = ui.ctx().load_texture(key, image, TextureOptions::LINEAR);
                            pictures.0.push((here.0, here.1, handle));
                        }
                        None => {}
                    }
                }
                Err(error) => complaint = Some(error.to_string()),
            }
        }
        let Some((_, _, handle)) = pictures.0.get(index) else { continue };
        let size = handle.size_vec2();
        let scale = (place.width() / size.x).min(place.height() / size.y);
        let shown = Rect::from_center_size(place.center(), size * scale);
        let uv = Rect::from_min_max(Pos2::ZERO, Pos2::new(1.0, 1.0));
        ui.painter().image(handle.id(), shown, uv, Color32::WHITE);
        let at = shown.left_top() + Vec2::new(8.0, 6.0);
        let font = FontId::proportional(12.5);
        ui.painter().text(at + Vec2::splat(1.0), Align2::LEFT_TOP, name, font.clone(), Color32::BLACK);
        ui.painter().text(at, Align2::LEFT_TOP, name, font, TEXT);
    }
    if let Some(complaint) = complaint {
        view.say(complaint);
    }
}

fn time_line(ui: &mut Ui, rect: Rect, view: &View, commands: &mut Vec<Command>) {
    let rows = view.rows().max(1);
    let strip = Rect::from_min_size(rect.min, Vec2::new(rect.width(), 20.0));
    let response = ui.interact(strip, Id::new("time line"), Sense::click_and_drag());
    let bar = strip.shrink2(Vec2::new(6.0, 7.0));
    let painter = ui.painter();
    painter.rect_filled(bar, 3.0, GROOVE);
    let x = |row: f64| bar.left() + bar.width() * (row / (rows - 1).max(1) as f64) as f32;
    let (first, last) = (view.first.unwrap_or(0), view.last.unwrap_or(rows - 1));
    let kept = Rect::from_x_y_ranges(x(first as f64)..=x(last as f64), bar.y_range());
    painter.rect_filled(kept, 3.0, Color32::from_rgb(96, 104, 116));
    for mark in view.first.iter().chain(&view.last) {
        painter.vline(x(*mark as f64), strip.y_range(), (2.0, ACCENT));
    }
    for (number, mark) in view.segments.iter().enumerate() {
        let Some(row) = mark else { continue };
        painter.vline(x(*row as f64), strip.y_range(), (1.5, GOOD));
        let at = Pos2::new(x(*row as f64) + 2.0, strip.top());
        painter.text(at, Align2::LEFT_TOP, (number + 1).to_string(), FontId::proportional(9.5), GOOD);
    }
    painter.circle_filled(Pos2::new(x(view.cursor), bar.center().y), 7.0, ACCENT);
    if let Some(place) = response.interact_pointer_pos() {
        commands.push(Command::Seek(plots::row_at(bar, rows, place)));
    }
    let buttons = Rect::from_min_max(Pos2::new(rect.left(), strip.bottom() + 6.0), rect.max);
    ui.scope_builder(UiBuilder::new().max_rect(buttons), |ui| {
        ui.horizontal(|ui| {
            ui.spacing_mut().item_spacing.x = 5.0;
            let busy = view.is_busy();
            let mut button = |ui: &mut Ui, can: bool, words: &str, command: Command| {
                if ui.add_enabled(can, egui::Button::new(words)).clicked() {
                    commands.push(command);
                }
            };
            button(ui, true, if view.playing { "Stop  Space" } else { "Play  Space" }, Command::Play);
            let fps = f64::from(view.model.dataset.info().fps);
            let time = format!("{:.2} s   row {} of {rows}", view.row() as f64 / fps, view.row());
            ui.label(RichText::new(time).monospace().size(12.0));
            ui.separator();
            button(ui, true, "Begin here  I", Command::MarkFirst);
            button(ui, true, "End here  O", Command::MarkLast);
            let marked = view.first.is_some() || view.last.is_some();
            button(ui, marked, "Unmark", Command::Unmark);
            button(ui, !busy && view.kept().is_some(), "Trim  T", Command::Trim);
            ui.separator();
            button(ui, !busy, "Success  Y", Command::Judge(Outcome::Success));
            button(ui, !busy, "Failure  F", Command::Judge(Outcome::Failure));
            button(ui, !busy, "Delete  Del", Command::Delete);
            button(ui, !busy, "Undo  U", Command::Undo);
            if busy {
                ui.spinner();
            }
        });
    });
}

fn show_plots(ui: &mut Ui, rect: Rect, view: &View, commands: &mut Vec<Command>) {
    let joints = view.series.states.len().max(view.series.actions.len());
    let count = joints + usize::from(!view.series.score.is_empty());
    if count == 0 || rect.height() < 40.0 {
        return;
    }
    let columns = if count <= 3 { count } else { count.div_ceil(2) };
    let lines = count.div_ceil(columns);
    let size = Vec2::new(
        (rect.width() - GAP * (columns - 1) as f32) / columns as f32,
        (rect.height() - GAP * (lines - 1) as f32) / lines as f32,
    );
    for index in 0..count {
        let corner =
            rect.min + Vec2::new((index % columns) as f32 * (size.x + GAP), (index / columns) as f32 * (size.y + GAP));
        let place = Rect::from_min_size(corner, size);
        let mut plot =
            if index < joints { joint_plot(&view.model, &view.series, index) } else { score_plot(&view.series) };
        plot.cursor = Some(view.cursor as f32);
        plot.kept = view.kept().map(|rows| (rows.start, rows.end - 1));
        plot.draw(ui.painter(), place);
        let response = ui.interact(place, Id::new(("plot", index)), Sense::click_and_drag());
        if let Some(pointer) = response.interact_pointer_pos() {
            commands.push(Command::Seek(plot.row_at(place, pointer)));
        }
    }
}

fn findings(ui: &mut Ui, view: &View, entry: &Entry, commands: &mut Vec<Command>) {
    if let Some((message, _)) = &view.message {
        ui.label(RichText::new(message).color(ACCENT));
    }
    let height = ui.available_height();
    ScrollArea::vertical().max_height(height).auto_shrink([false, false]).show(ui, |ui| {
        match &entry.findings {
            None => {
                ui.label(theme::faint("the quality check has not looked here yet"));
            }
            Some(findings) if findings.is_empty() => {
                ui.label(RichText::new("no faults found").color(GOOD));
            }
            Some(_) => {}
        }
        for finding in entry.findings.iter().flatten() {
            let text = RichText::new(finding.to_string()).size(12.0).color(colour_of(finding.severity));
            let label = ui.add(egui::Label::new(text).truncate().sense(Sense::click()));
            let label = label.on_hover_text(finding.to_string());
            if let Some([first, _]) = finding.frames.first().filter(|_| label.clicked()) {
                commands.push(Command::Seek(*first));
            }
        }
        for finding in view.about_all.iter().filter(|finding| finding.severity > Severity::Note) {
            ui.label(RichText::new(finding.to_string()).size(12.0).color(colour_of(finding.severity)));
        }
    });
}
