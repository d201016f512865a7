"""Training the network that `convert --denoiser` puts between the defence and the classifier; TensorFlow."""
