//! Policies against LeRobot's own numbers (tests/fixtures/policy, made by LeRobot 0.6.1), and their checkpoints.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use burn::module::Module;
use burn::tensor::{Bool, Device, Int, Tensor, TensorData};
use etude::dataset::Image;
use etude::policy::act::{Act, ActConfig, ActInput, TemporalEnsemble};
use etude::policy::checkpoint::{
    self, Checkpoint, Contents, Feature, FeatureKind, Features, NamedTensor, PolicyConfig, PolicyKind, TensorFile,
};
use etude::policy::diffusion::{Diffusion, DiffusionConfig, DiffusionInput, Sampler};
use etude::policy::nn::Noise;
use etude::policy::normalise::{Normaliser, Statistics};
use etude::policy::smolvla::{SmolVla, SmolVlaConfig, SmolVlaInput, VlmShape, resize_with_padding};
use etude::policy::{Moment, Observation};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How far a number may be from LeRobot's.
const TOLERANCE: f32 = 1e-4;

/// A policy's recorded inputs and outputs.
struct Golden {
    description: Value,
    tensors: TensorFile,
}

impl Golden {
    fn open(name: &str) -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/policy");
        let description = fs::read_to_string(folder.join(format!("{name}.json"))).unwrap();
        Self {
            description: serde_json::from_str(&description).unwrap(),
            tensors: TensorFile::open(&folder.join(format!("{name}.safetensors"))).unwrap(),
        }
    }

    fn tensor<const D: usize>(&self, name: &str) -> Tensor<D> {
        let stored = self.tensors.get(name).unwrap();
        Tensor::from_data(TensorData::new(stored.values(), stored.shape()), &Device::flex())
    }

    fn mask<const D: usize>(&self, name: &str) -> Tensor<D, Bool> {
        self.tensor::<D>(name).greater_elem(0.5)
    }

    fn number(&self, name: &str) -> f32 {
        self.tensors.get(name).unwrap().values()[0]
    }

    /// Names and shapes of the policy's own tensors.
    fn weights(&self) -> Vec<(String, Vec<usize>)> {
        serde_json::from_value(self.description["tensors"].clone()).unwrap()
    }

    fn config(&self, key: &str) -> &Value {
        &self.description["config"][key]
    }

    fn size(&self, key: &str) -> usize {
        self.config(key).as_u64().unwrap() as usize
    }

    /// The module with the weights that its golden numbers were made with; `fixed` keep their own values.
    fn fill<M: Module>(&self, module: M, prefix: &str, fixed: &[&str], is_ignored: impl Fn(&str) -> bool) -> M {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("weights.safetensors");
        let own = checkpoint::collect(&module, prefix).unwrap();
        let tensors: Vec<NamedTensor> = self
            .weights()
            .into_iter()
            .map(|(name, shape)| match own.iter().find(|t| t.name == name) {
                Some(tensor) if fixed.iter().any(|f| name.ends_with(f)) => tensor.clone(),
                _ => NamedTensor { values: formula(&name, &shape), name, shape },
            })
            .collect();
        checkpoint::write_tensors(&path, &tensors).unwrap();
        checkpoint::load(module, &TensorFile::open(&path).unwrap(), prefix, is_ignored).unwrap()
    }
}

/// The golden weights: numbers that follow from a tensor's name.
fn formula(name: &str, shape: &[usize]) -> Vec<f32> {
    let fnv = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
    let seed = name.bytes().fold(0xcbf2_9ce4_8422_2325, fnv);
    let count: usize = shape.iter().product();
    let fan_in = (count / shape[0]) as f64;
    let value = |i: usize| {
        let mut x = seed.wrapping_add(i as u64).wrapping_add(0x9E37_79B9_7F4A_7C15);
        x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        x ^= x >> 31;
        let u = (x >> 40) as f64 / (1u64 << 24) as f64;
        let even = 2.0 * u - 1.0;
        (match shape.len() {
            2.. => even / fan_in.sqrt(),
            _ if name.ends_with("running_var") => 0.5 + u,
            _ if name.ends_with("weight") => 1.0 + 0.1 * even,
            _ => 0.05 * even,
        }) as f32
    };
    (0..count).map(value).collect()
}

#[track_caller]
fn assert_close<const D: usize>(got: Tensor<D>, expected: Tensor<D>, what: &str) {
    assert_eq!(got.dims(), expected.dims(), "{what}");
    let far = (got - expected).abs().max().into_scalar::<f32>();
    assert!(far < TOLERANCE, "{what}: {far} off");
}

#[track_caller]
fn assert_number(got: Tensor<1>, expected: f32, what: &str) {
    let got = got.into_scalar::<f32>();
    assert!((got - expected).abs() < TOLERANCE, "{what}: {got} instead of {expected}");
}

fn features(image: usize) -> Features {
    Features::of_arm(6, &[("front", image, image), ("wrist", image, image)])
}

fn act_config(golden: &Golden) -> ActConfig {
    ActConfig {
        dim_model: golden.size("dim_model"),
        n_heads: golden.size("n_heads"),
        dim_feedforward: golden.size("dim_feedforward"),
        n_encoder_layers: golden.size("n_encoder_layers"),
        n_decoder_layers: golden.size("n_decoder_layers"),
        n_vae_encoder_layers: golden.size("n_vae_encoder_layers"),
        chunk_size: golden.size("chunk_size"),
        n_action_steps: golden.size("n_action_steps"),
        latent_dim: golden.size("latent_dim"),
        dropout: 0.0,
        pretrained_backbone_weights: None,
        ..ActConfig::default()
    }
}

fn golden_act(golden: &Golden, device: &Device) -> Act {
    let act = Act::new(&act_config(golden), &features(golden.size("image")), device).unwrap();
    golden.fill(act, "model.", &["vae_encoder_pos_enc"], |_| false)
}

fn act_input(golden: &Golden) -> ActInput {
    ActInput {
        state: Some(golden.tensor("in.observation.state")),
        environment: None,
        images: ["front", "wrist"].map(|c| golden.tensor(&format!("in.observation.images.{c}"))).to_vec(),
    }
}

#[test]
fn act_foretells_what_lerobot_does() {
    let golden = Golden::open("act");
    let act = golden_act(&golden, &Device::flex());
    let expected = golden.tensor::<3>("eval.actions");
    assert_close(act.predict(act_input(&golden)), expected.clone(), "actions");
    assert_close(act.for_inference().predict(act_input(&golden)), expected, "actions with folded norms");
}

#[test]
fn act_has_lerobots_loss() {
    let golden = Golden::open("act");
    for device in [Device::flex(), Device::flex().autodiff()] {
        let act = golden_act(&golden, &device);
        let on = |x: ActInput| ActInput {
            state: x.state.map(|t| t.to_device(&device)),
            images: x.images.into_iter().map(|t| t.to_device(&device)).collect(),
            ..x
        };
        let input = on(act_input(&golden));
        let actions = golden.tensor::<3>("in.action").to_device(&device);
        let is_pad = golden.mask::<2>("in.action_is_pad").to_device(&device);
        let noise = golden.tensor::<2>("train.noise").to_device(&device);
        let (mean, log_variance) = act.encode_style(input.state.clone(), actions.clone(), is_pad.clone()).unwrap();
        assert_close(mean.inner_if(&device), golden.tensor("train.mu"), "mean of the style");
        assert_close(log_variance.inner_if(&device), golden.tensor("train.log_sigma_x2"), "variance of the style");
        let loss = act.loss(input, actions, is_pad, Some(noise));
        assert_number(loss.l1, golden.number("train.l1"), "l1");
        assert_number(loss.kl.unwrap(), golden.number("train.kld"), "divergence");
        assert_number(loss.total, golden.number("train.loss"), "loss");
    }
}

trait InnerIf {
    fn inner_if(self, device: &Device) -> Self;
}

impl<const D: usize> InnerIf for Tensor<D> {
    /// Without gradients where there are some, so that it can be compared.
    fn inner_if(self, device: &Device) -> Self {
        if device.is_autodiff() { self.inner() } else { self }
    }
}

#[test]
fn ensemble_over_time_is_lerobots() {
    let golden = Golden::open("act");
    let chunks = golden.tensors.get("ensemble.chunks").unwrap();
    let [ticks, _, length, width] = <[usize; 4]>::try_from(chunks.shape()).unwrap();
    let (values, expected) = (chunks.values(), golden.tensors.get("ensemble.out").unwrap().values());
    let mut ensemble = TemporalEnsemble::new(0.01, length);
    for tick in 0..ticks {
        let chunk = &values[tick * length * width..][..length * width];
        let chunk: Vec<Vec<f32>> = chunk.chunks(width).map(<[f32]>::to_vec).collect();
        let action = ensemble.update(&chunk).unwrap();
        for (a, b) in action.iter().zip(&expected[tick * width..]) {
            assert!((a - b).abs() < TOLERANCE, "tick {tick}: {a} instead of {b}");
        }
    }
}

/// Statistics of an arm's two vectors and its cameras.
fn statistics() -> Statistics {
    let mut statistics = Statistics::default();
    for (key, width) in [("observation.state", 6), ("action", 6)] {
        for (name, value) in [("mean", 3.0), ("std", 20.0), ("min", -50.0), ("max", 50.0)] {
            statistics.insert(key, name, (0..width).map(|i| value + i as f32).collect());
        }
    }
    for camera in ["front", "wrist"] {
        for (name, value) in [("mean", 0.4), ("std", 0.2), ("min", 0.0), ("max", 1.0)] {
            statistics.insert(&format!("observation.images.{camera}"), name, vec![value; 3]);
        }
    }
    statistics
}

/// The golden ACT as a checkpoint in `folder`.
fn write_act(golden: &Golden, folder: &Path) -> Act {
    let act = golden_act(golden, &Device::flex());
    let config = PolicyConfig::new(PolicyKind::Act(act_config(golden)), features(golden.size("image")));
    checkpoint::write(folder, &Contents { config: &config, statistics: &statistics(), module: &act }).unwrap();
    act
}

#[test]
fn checkpoint_carries_lerobots_tensors_and_comes_back() {
    let golden = Golden::open("act");
    let folder = tempfile::tempdir().unwrap();
    write_act(&golden, folder.path());
    let files = [
        "config.json",
        "model.safetensors",
        "policy_postprocessor.json",
        "policy_postprocessor_step_0_unnormalizer_processor.safetensors",
        "policy_preprocessor.json",
        "policy_preprocessor_step_3_normalizer_processor.safetensors",
    ];
    let mut found: Vec<String> =
        fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    found.sort();
    assert_eq!(found, files);

    let opened = Checkpoint::open(folder.path()).unwrap();
    let mut expected = golden.weights();
    expected.sort();
    let weights = opened.weights();
    let written: Vec<(String, Vec<usize>)> =
        weights.names().map(|n| (n.to_string(), weights.get(n).unwrap().shape().to_vec())).collect();
    assert_eq!(written, expected);
    let picture = TensorFile::open(&folder.path().join(files[5])).unwrap();
    assert_eq!(picture.get("observation.images.front.mean").unwrap().shape(), [3, 1, 1]);

    let PolicyKind::Act(config) = &opened.config.kind else { panic!("{}", opened.config.kind.name()) };
    assert_eq!(*config, act_config(&golden));
    assert_eq!(opened.statistics, statistics());
    assert!(opened.config.unknown_keys.is_empty(), "{:?}", opened.config.unknown_keys);
    let again = Act::new(config, &opened.config.features, &Device::flex()).unwrap();
    let again = opened.load_into(again).unwrap();
    assert_close(again.predict(act_input(&golden)), golden.tensor("eval.actions"), "actions");
}

#[test]
fn checkpoint_answers_observations_in_the_datasets_units() {
    let golden = Golden::open("act");
    let folder = tempfile::tempdir().unwrap();
    let act = write_act(&golden, folder.path());
    let mut policy = etude::policy::load(folder.path(), &Device::flex()).unwrap();
    let names: Vec<&str> = policy.spec().cameras.iter().map(|c| c.name.as_str()).collect();
    assert_eq!((names, policy.spec().chunk_size), (vec!["front", "wrist"], 10));

    let picture = |red| Arc::new(Image::filled(64, 64, [red, 120, 30]));
    let moment = Moment { state: vec![4.0, -10.0, 20.0, 0.0, 5.0, 50.0], pictures: vec![picture(10), picture(200)] };
    let history = [Arc::new(moment.clone())];
    let answer = policy.predict(&[Observation { history: &history, task: "" }], 0).unwrap();

    let modes = Checkpoint::open(folder.path()).unwrap().config.normalization;
    let normaliser = Normaliser::new(&statistics(), &modes, &features(64)).unwrap();
    let plain = |colour: [f32; 3]| {
        let colour = Tensor::<1>::from_data(colour, &Device::flex()) / 255.0;
        colour.reshape([1, 3, 1, 1]).expand([1, 3, 64, 64])
    };
    let state = Tensor::<1>::from_data(moment.state.as_slice(), &Device::flex()).reshape([1, 6]);
    let input = ActInput {
        state: Some(normaliser.normalise("observation.state", state)),
        environment: None,
        images: vec![
            normaliser.normalise("observation.images.front", plain([10.0, 120.0, 30.0])),
            normaliser.normalise("observation.images.wrist", plain([200.0, 120.0, 30.0])),
        ],
    };
    let expected: Vec<f32> = normaliser.unnormalise("action", act.predict(input)).into_data().try_into_vec().unwrap();
    assert_eq!(answer.len(), 1);
    assert_eq!(answer[0].len(), expected.len());
    for (a, b) in answer[0].iter().zip(&expected) {
        assert!((a - b).abs() < 20.0 * TOLERANCE, "{a} instead of {b}");
    }

    let blind = [Arc::new(Moment { pictures: vec![picture(10)], ..moment })];
    let error = policy.predict(&[Observation { history: &blind, task: "" }], 0).unwrap_err().to_string();
    assert!(error.contains("no picture of camera wrist, 64 x 64"), "{error}");
}

#[test]
fn damaged_checkpoints_are_refused_with_file_place_and_remedy() {
    let golden = Golden::open("act");
    let folder = tempfile::tempdir().unwrap();
    write_act(&golden, folder.path());
    let path = |name: &str| -> PathBuf { folder.path().join(name) };
    let refused = |name: &str, content: &[u8]| -> String {
        let whole = fs::read(path(name)).unwrap();
        fs::write(path(name), content).unwrap();
        let error = Checkpoint::open(folder.path()).err().or_else(|| {
            let opened = Checkpoint::open(folder.path()).unwrap();
            let PolicyKind::Act(config) = &opened.config.kind else { return None };
            opened
                .normaliser()
                .err()
                .or_else(|| opened.load_into(Act::new(config, &opened.config.features, &Device::flex()).unwrap()).err())
        });
        fs::write(path(name), whole).unwrap();
        let error = error.unwrap_or_else(|| panic!("{name} was taken")).to_string();
        assert!(error.contains(name) && error.contains("; "), "{error}");
        error
    };

    let whole = fs::read(path("model.safetensors")).unwrap();
    for length in [0, 7, 8, 100, 20_000, whole.len() / 2, whole.len() - 1] {
        let error = refused("model.safetensors", &whole[..length]);
        assert!(error.contains("copy it again"), "{length}: {error}");
    }
    let mut longer = whole.clone();
    longer.extend([0; 4]);
    assert!(refused("model.safetensors", &longer).contains("4 bytes belong to no tensor"));
    assert!(refused("model.safetensors", &[0xff; 64]).contains("no safetensors file"));
    // A byte inside the header's JSON.
    let mut bent = whole.clone();
    bent[9] = b'?';
    assert!(refused("model.safetensors", &bent).contains("not JSON"));
    // A weight that is no number.
    let mut nan = whole;
    let at = nan.len() - 4;
    nan[at..].copy_from_slice(&f32::NAN.to_le_bytes());
    assert!(refused("model.safetensors", &nan).contains("diverged"));

    let config = fs::read_to_string(path("config.json")).unwrap();
    let change = |from: &str, to: &str| {
        assert!(config.contains(from), "{from}");
        refused("config.json", config.replace(from, to).as_bytes())
    };
    assert!(change("\"dim_model\": 64", "\"dim_model\": \"wide\"").contains("dim_model"));
    assert!(change("\"type\": \"act\"", "\"type\": \"vqbet\"").contains("act, diffusion and smolvla"));
    assert!(change("resnet18", "resnet50").contains("vision_backbone: is resnet50"));
    refused("config.json", config[..config.len() / 2].as_bytes());
    refused("policy_preprocessor.json", b"{}");
    let state = "policy_preprocessor_step_3_normalizer_processor.safetensors";
    refused(state, &fs::read(path(state)).unwrap()[..50]);
}

#[test]
fn foreign_weights_are_refused_by_their_tensor() {
    let golden = Golden::open("act");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let act = golden_act(&golden, &Device::flex());
    let tensors = checkpoint::collect(&act, "model.").unwrap();
    let refused = |tensors: &[NamedTensor]| {
        checkpoint::write_tensors(&path, tensors).unwrap();
        let file = TensorFile::open(&path).unwrap();
        checkpoint::load(act.clone(), &file, "model.", |_| false).err().unwrap().to_string()
    };
    let missing: Vec<NamedTensor> = tensors.iter().filter(|t| t.name != "model.action_head.bias").cloned().collect();
    assert!(refused(&missing).contains("model.action_head.bias: the tensor is missing"));
    let mut other = tensors.clone();
    let head = other.iter_mut().find(|t| t.name == "model.action_head.weight").unwrap();
    head.shape = vec![64, 6];
    assert!(refused(&other).contains("has shape [64, 6] where the configuration asks for [6, 64]"));
    let mut more = tensors;
    more.push(NamedTensor { name: "model.extra".into(), shape: vec![1], values: vec![0.0] });
    assert!(refused(&more).contains("model.extra: the policy has no such tensor"));
}

#[test]
fn diffusion_draws_what_lerobot_does() {
    let golden = Golden::open("diffusion");
    let device = Device::flex();
    let crop = golden.size("crop");
    let config = DiffusionConfig {
        down_dims: serde_json::from_value(golden.config("down_dims").clone()).unwrap(),
        spatial_softmax_num_keypoints: golden.size("spatial_softmax_num_keypoints"),
        diffusion_step_embed_dim: golden.size("diffusion_step_embed_dim"),
        noise_scheduler_type: Sampler::Ddim,
        num_inference_steps: Some(golden.size("num_inference_steps")),
        horizon: golden.size("horizon"),
        n_action_steps: golden.size("n_action_steps"),
        crop_shape: Some([crop, crop]),
        use_separate_rgb_encoder_per_camera: true,
        ..DiffusionConfig::default()
    };
    let features = features(golden.size("image"));
    let policy = Diffusion::new(&config, &features, &device).unwrap();
    let policy = golden.fill(policy, "diffusion.", &["pos_grid"], |_| false);
    let images = golden.tensor::<6>("in.images"); // [batch, step, camera, 3, height, width]
    let [batch, steps, cameras, channels, height, width] = images.dims();
    let camera = |i: usize| images.clone().narrow(2, i, 1).reshape([batch * steps, channels, height, width]);
    let input = DiffusionInput {
        state: golden.tensor("in.state"),
        environment: None,
        images: (0..cameras).map(camera).collect(),
    };
    let condition = policy.condition(input.clone());
    assert_close(condition.clone(), golden.tensor("global_cond"), "condition");

    let at: Tensor<1, Int> = golden.tensor::<1>("unet.t").int();
    let said = policy.denoise(golden.tensor("unet.x"), at, condition);
    assert_close(said, golden.tensor("unet.y"), "what the U-Net says");

    let schedule = policy.schedule();
    for (step, (got, expected)) in
        schedule.alphas_cumprod().iter().zip(golden.tensors.get("sched.alphas_cumprod").unwrap().values()).enumerate()
    {
        assert!((*got as f32 - expected).abs() < 1e-6, "step {step}: {got} instead of {expected}");
    }
    let timesteps: Vec<f32> = schedule.timesteps().iter().map(|&t| t as f32).collect();
    assert_eq!(timesteps, golden.tensors.get("sched.timesteps").unwrap().values());

    let drawn = policy.predict(input.clone(), golden.tensor("ddim.noise"), &mut Noise::new(0));
    assert_close(drawn, golden.tensor("ddim.actions"), "actions");

    // The loss: the golden U-Net's answer to x at t is that to some actions with some noise added.
    let (x, y): (Tensor<3>, Tensor<3>) = (golden.tensor("unet.x"), golden.tensor("unet.y"));
    let at: Tensor<1, Int> = golden.tensor::<1>("unet.t").int();
    let noise = golden.tensor::<3>("ddim.noise");
    let left: Vec<f32> = golden
        .tensor::<1>("unet.t")
        .into_data()
        .try_into_vec::<f32>()
        .unwrap()
        .iter()
        .map(|&t| golden.tensors.get("sched.alphas_cumprod").unwrap().values()[t as usize])
        .collect();
    let left = Tensor::<1>::from_data(TensorData::new(left, [batch]), &device).reshape([batch, 1, 1]);
    let actions = (x - noise.clone() * (left.clone().neg() + 1.0).sqrt()) / left.sqrt();
    let expected = (y - noise.clone()).powi_scalar(2).mean().into_scalar::<f32>();
    let is_pad = Tensor::<2, Bool>::full([batch, config.horizon], false, &device);
    assert_number(policy.loss(input, actions, is_pad, noise, at), expected, "loss");

    let mut expected = golden.weights();
    expected.sort();
    let mut names: Vec<(String, Vec<usize>)> =
        checkpoint::collect(&policy, "diffusion.").unwrap().into_iter().map(|t| (t.name, t.shape)).collect();
    names.sort();
    assert_eq!(names, expected);
}

#[test]
fn smolvla_draws_what_lerobot_does() {
    let golden = Golden::open("smolvla");
    let device = Device::flex();
    let of = |part: &str, key: &str| golden.config(part)[key].as_u64().unwrap() as usize;
    let shape = VlmShape {
        width: of("text", "hidden_size"),
        feedforward: of("text", "intermediate_size"),
        heads: of("text", "num_attention_heads"),
        key_heads: of("text", "num_key_value_heads"),
        head_width: of("text", "head_dim"),
        vocabulary: of("text", "vocab_size"),
        norm_epsilon: 1e-5,
        vision_width: of("vision", "hidden_size"),
        vision_feedforward: of("vision", "intermediate_size"),
        vision_layers: of("vision", "num_hidden_layers"),
        vision_heads: of("vision", "num_attention_heads"),
        image_size: of("vision", "image_size"),
        patch_size: of("vision", "patch_size"),
        scale_factor: golden.size("scale_factor"),
    };
    let config = SmolVlaConfig {
        chunk_size: golden.size("chunk_size"),
        n_action_steps: golden.size("chunk_size"),
        num_vlm_layers: golden.size("num_vlm_layers"),
        num_steps: golden.size("num_steps"),
        resize_imgs_with_padding: Some([64, 64]),
        ..SmolVlaConfig::default()
    };
    let features = Features {
        inputs: vec![
            ("observation.state".into(), Feature::vector(FeatureKind::State, 6)),
            ("observation.images.front".into(), Feature::picture(48, 64)),
        ],
        outputs: vec![("action".into(), Feature::vector(FeatureKind::Action, 6))],
    };
    let policy = SmolVla::new(&config, &shape, &features, &device).unwrap();
    let policy = golden.fill(policy, "model.", &[], SmolVla::is_unused);
    let rows = |name: &str, length: usize| -> Vec<Vec<f32>> {
        golden.tensors.get(name).unwrap().values().chunks(length).map(<[f32]>::to_vec).collect()
    };
    let input = SmolVlaInput {
        images: vec![golden.tensor("in.image")],
        tokens: rows("in.tokens", 7).iter().map(|r| r.iter().map(|&t| t as u32).collect()).collect(),
        is_word: rows("in.language_mask", 7).iter().map(|r| r.iter().map(|&m| m > 0.5).collect()).collect(),
        state: golden.tensor("in.state"),
    };
    let seen = resize_with_padding(golden.tensor("in.image"), [64, 64]) * 2.0 - 1.0;
    assert_close(seen, golden.tensor("prepared.image"), "picture");
    let (embedded, is_token) = policy.embed(input.clone());
    assert_close(embedded, golden.tensor("prefix.embeddings"), "prefix");
    let expected: Vec<Vec<bool>> =
        rows("prefix.pad", 12).iter().map(|r| r.iter().map(|&m| m > 0.5).collect()).collect();
    assert_eq!(is_token, expected);
    let drawn = policy.predict(input.clone(), golden.tensor("in.noise"));
    assert_close(drawn, golden.tensor("out.actions"), "actions");

    // LeRobot's training loss is the mean square of what the flow misses.
    let times: Vec<f64> = golden.tensors.get("in.time").unwrap().values().iter().map(|&t| f64::from(t)).collect();
    let noise = golden.tensor::<3>("in.noise");
    let filled = Tensor::cat(vec![golden.tensor::<3>("in.action"), noise.zeros_like().narrow(2, 0, 26)], 2);
    let time = golden.tensor::<1>("in.time").reshape([2, 1, 1]);
    let mixed = noise.clone() * time.clone() + filled.clone() * (time.neg() + 1.0);
    let flow = policy.flow(&policy.read(input), mixed, &times);
    let missed = (noise - filled - flow).powi_scalar(2);
    let all = missed.clone().mean().into_scalar::<f32>();
    let real = missed.narrow(2, 0, 6).mean().into_scalar::<f32>();
    let expected = golden.number("train.loss");
    assert!((real - expected).abs() < TOLERANCE, "loss {real} (with filled dimensions {all}) instead of {expected}");
}
