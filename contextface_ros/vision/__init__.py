"""From a camera frame to what f_phi sees: the picture, the person meant, the red box."""
