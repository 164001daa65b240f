"""Networks that no library has; everything else comes from torchvision, timm and transformers."""
