"""How the parts are made that some defences need; TensorFlow, small scale, each run goes on where it was stopped."""
