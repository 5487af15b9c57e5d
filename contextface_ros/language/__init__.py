"""f_phi of the paper: the language model that reads a context. One file per runtime."""
