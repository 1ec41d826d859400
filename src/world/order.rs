//! What an episode asks for, in words: the scene's instruction, or a sentence drawn from what is on the table.

use crate::config::{Area, Scene, TaskConfig};
use bevy::prelude::Resource;
use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};

/// What the present episode asks for.
#[derive(Resource, Clone, Debug, Default, PartialEq)]
pub struct Order {
    /// The sentence; also the task text of a recorded episode.
    pub text: String,
    /// What it means, for tasks whose sentence is drawn.
    pub wishes: Vec<Wish>,
}

/// So many of these props into this area.
#[derive(Clone, Debug, PartialEq)]
pub struct Wish {
    /// Indices of the props that will do, in the scene's order.
    pub props: Vec<usize>,
    /// How many of them shall be in the area.
    pub count: usize,
    /// Index of the area.
    pub area: usize,
}

/// Numbers as words.
const NUMBERS: [&str; 5] = ["no", "one", "two", "three", "four"];

impl Order {
    /// The order of a scene that asks the same in every episode.
    pub fn of_scene(scene: &Scene) -> Self {
        Self { text: scene.instruction.clone(), wishes: Vec::new() }
    }

    /// How many props shall be in an area.
    pub fn wanted_in(&self, area: usize) -> usize {
        self.wishes.iter().filter(|wish| wish.area == area).map(|wish| wish.count).sum()
    }
}

/// Which props of a scene are on the table in the episode of `seed`, and what it asks for. Drawn apart from the start, so
/// that both can be told from the seed alone.
pub(super) fn draw_order(scene: &Scene, seed: u64) -> (Vec<bool>, Order) {
    let TaskConfig::SortByWord { areas, objects, .. } = &scene.task else {
        return (vec![true; scene.props.len()], Order::of_scene(scene));
    };
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(1);
    let mut below = |count: usize| ((rng.random::<f64>() * count as f64) as usize).min(count.saturating_sub(1));
    let count = objects.0 + below(objects.1 + 1 - objects.0);
    let mut present = vec![false; scene.props.len()];
    for _ in 0..count.min(present.len()) {
        let absent: Vec<usize> = (0..present.len()).filter(|index| !present[*index]).collect();
        present[absent[below(absent.len())]] = true;
    }
    // First what kind of sentence, then which: there are many more of some kinds than of others.
    let mut kinds =
        [single_orders(scene, areas, &present), pair_orders(scene, areas, &present), counted(scene, areas, &present)];
    let some: Vec<&mut Vec<Order>> = kinds.iter_mut().filter(|orders| !orders.is_empty()).collect();
    let kind = below(some.len());
    let order = some.into_iter().nth(kind).map(|orders| {
        let index = below(orders.len());
        orders.swap_remove(index)
    });
    (present, order.unwrap_or_else(|| Order::of_scene(scene)))
}

/// Whether an episode of a scene can have this text.
pub fn may_ask(scene: &Scene, text: &str) -> bool {
    let TaskConfig::SortByWord { areas, .. } = &scene.task else { return scene.instruction == text };
    let all = vec![true; scene.props.len()];
    // With fewer props on the table fewer balls may do, but the words are the same.
    let orders = [single_orders(scene, areas, &all), pair_orders(scene, areas, &all), counted(scene, areas, &all)];
    orders.iter().flatten().any(|order| order.text == text)
}

/// What a sentence calls an area.
fn area_words(areas: &[Area], index: usize) -> String {
    let one = areas.len() == 1;
    areas.get(index).filter(|_| !one).map_or("the area".into(), |area| format!("the {}", area.name))
}

/// Props on the table with their words.
fn named<'a>(scene: &'a Scene, present: &'a [bool]) -> impl Iterator<Item = (usize, &'a str, &'a str)> + Clone {
    let there = scene.props.iter().enumerate().filter(|(index, _)| present[*index]);
    there.filter_map(|(index, prop)| prop.noun().map(|(colour, kind)| (index, colour, kind)))
}

fn one(prop: usize, area: usize) -> Wish {
    Wish { props: vec![prop], count: 1, area }
}

/// "Put the blue block into the green area"
fn single_orders(scene: &Scene, areas: &[Area], present: &[bool]) -> Vec<Order> {
    let each = named(scene, present).flat_map(|prop| (0..areas.len()).map(move |area| (prop, area)));
    each.map(|((index, colour, kind), area)| Order {
        text: format!("Put the {colour} {kind} into {}", area_words(areas, area)),
        wishes: vec![one(index, area)],
    })
    .collect()
}

/// "Put the blue block into the green area and the red ball into the yellow area"
fn pair_orders(scene: &Scene, areas: &[Area], present: &[bool]) -> Vec<Order> {
    let mut orders = Vec::new();
    for (index, colour, kind) in named(scene, present) {
        for (other, other_colour, other_kind) in named(scene, present).filter(|(other, ..)| *other != index) {
            for area in 0..areas.len() {
                for other_area in (0..areas.len()).filter(|other| *other != area) {
                    let (first, second) = (area_words(areas, area), area_words(areas, other_area));
                    orders.push(Order {
                        text: format!(
                            "Put the {colour} {kind} into {first} and the {other_colour} {other_kind} into {second}"
                        ),
                        wishes: vec![one(index, area), one(other, other_area)],
                    });
                }
            }
        }
    }
    orders
}

/// "Put two balls into the green area"
fn counted(scene: &Scene, areas: &[Area], present: &[bool]) -> Vec<Order> {
    let mut orders = Vec::new();
    for wanted in ["block", "ball"] {
        let props: Vec<usize> =
            named(scene, present).filter(|(_, _, kind)| *kind == wanted).map(|(index, ..)| index).collect();
        for area in 0..areas.len() {
            // More than two do not fit side by side.
            for count in 2..=props.len().min(2) {
                let text = format!("Put {} {wanted}s into {}", NUMBERS[count], area_words(areas, area));
                orders.push(Order { text, wishes: vec![Wish { props: props.clone(), count, area }] });
            }
        }
    }
    orders
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load_named;

    fn sorting() -> Scene {
        load_named("scenes", "sort_by_word").unwrap()
    }

    #[test]
    fn sentences_ask_for_what_is_there() {
        let scene = sorting();
        let TaskConfig::SortByWord { areas, objects, .. } = &scene.task else { panic!("it is a sorting scene") };
        let mut kinds = [0; 3];
        for seed in 0..500 {
            let (present, order) = draw_order(&scene, seed);
            assert_eq!((present.clone(), order.clone()), draw_order(&scene, seed), "seed {seed}");
            let count = present.iter().filter(|there| **there).count();
            assert!((objects.0..=objects.1).contains(&count), "seed {seed}: {count} props");
            assert!(!order.wishes.is_empty(), "seed {seed}: {order:?}");
            for wish in &order.wishes {
                assert!(wish.props.len() >= wish.count && wish.area < areas.len(), "seed {seed}: {order:?}");
                assert!(wish.props.iter().all(|prop| present[*prop]), "seed {seed}: {order:?}");
                if wish.props.len() == 1 {
                    let (colour, kind) = scene.props[wish.props[0]].noun().unwrap();
                    assert!(order.text.contains(&format!("the {colour} {kind} into the {}", areas[wish.area].name)));
                }
            }
            assert!(may_ask(&scene, &order.text), "{}", order.text);
            let kind = if order.wishes.len() == 2 { 1 } else { usize::from(order.wishes[0].count == 2) * 2 };
            kinds[kind] += 1;
        }
        assert!(kinds.iter().all(|count| *count > 50), "every kind of sentence is drawn: {kinds:?}");
        assert!(!may_ask(&scene, "Put the green block into the green area"));
    }

    #[test]
    fn one_area_needs_no_name() {
        let mut scene = sorting();
        let TaskConfig::SortByWord { areas, .. } = &mut scene.task else { panic!("it is a sorting scene") };
        areas.truncate(1);
        let texts: Vec<String> = (0..40).map(|seed| draw_order(&scene, seed).1.text).collect();
        assert!(texts.iter().all(|text| text.ends_with("into the area")), "{texts:?}");
        assert!(texts.iter().any(|text| text == "Put two balls into the area"), "{texts:?}");
    }

    #[test]
    fn other_scenes_ask_the_same_every_time() {
        let scene: Scene = load_named("scenes", "move_t").unwrap();
        assert_eq!(draw_order(&scene, 3), (vec![true], Order::of_scene(&scene)));
        assert!(may_ask(&scene, &scene.instruction) && !may_ask(&scene, "Do something else"));
    }
}
