"""Annotated contexts and human texts, and the token sequences made of them."""
