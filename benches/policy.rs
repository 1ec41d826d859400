//! How long policies take, on however many cores rayon is given (`RAYON_NUM_THREADS=1`): one answer of the small presets'
//! networks, and one training step without the optimiser. PyTorch's figures for comparable sizes on two cores of an EPYC: ACT
//! of width 128 without pictures answers in 1.3 ms.

use burn::tensor::{Bool, Device, Distribution, Tensor};
use divan::Bencher;
use etude::policy::act::{Act, ActConfig, ActInput};
use etude::policy::checkpoint::Features;
use etude::policy::train::keep_freed_memory;

const JOINTS: usize = 6;
const SIDE: usize = 96;

fn main() {
    keep_freed_memory();
    divan::main();
}

/// configs/policy/act_small.ron.
fn act_small() -> ActConfig {
    ActConfig {
        vision_backbone: "resnet18_w16".into(),
        dim_model: 128,
        n_heads: 4,
        dim_feedforward: 512,
        n_encoder_layers: 2,
        n_vae_encoder_layers: 2,
        chunk_size: 32,
        n_action_steps: 16,
        ..ActConfig::default()
    }
}

fn features() -> Features {
    Features::of_arm(JOINTS, &[("front", SIDE, SIDE), ("wrist", SIDE, SIDE)])
}

fn input(batch: usize, device: &Device) -> ActInput {
    let picture = || Tensor::random([batch, 3, SIDE, SIDE], Distribution::Default, device);
    ActInput {
        state: Some(Tensor::random([batch, JOINTS], Distribution::Default, device)),
        environment: None,
        images: vec![picture(), picture()],
    }
}

#[divan::bench]
fn act_small_answers(bencher: Bencher) {
    let device = Device::flex();
    let Ok(act) = Act::new(&act_small(), &features(), &device) else { return };
    let (act, input) = (act.for_inference(), input(1, &device));
    bencher.bench_local(|| act.predict(input.clone()).into_data());
}

#[divan::bench(args = [8, 32])]
fn act_small_learns(bencher: Bencher, batch: usize) {
    let device = Device::flex().autodiff();
    let config = act_small();
    let Ok(act) = Act::new(&config, &features(), &device) else { return };
    let input = input(batch, &device);
    let actions = Tensor::<3>::random([batch, config.chunk_size, JOINTS], Distribution::Default, &device);
    let is_pad = Tensor::<2, Bool>::full([batch, config.chunk_size], false, &device);
    bencher.bench_local(|| {
        let loss = act.loss(input.clone(), actions.clone(), is_pad.clone(), None);
        loss.total.backward()
    });
}
