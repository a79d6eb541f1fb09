"""The evaluation loop: batches through the model, outcomes into parts."""
