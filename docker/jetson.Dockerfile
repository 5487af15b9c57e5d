# JetPack 6 (L4T r36, Ubuntu 22.04, Python 3.10, CUDA 12.6) with ROS 2 Humble. Built on the Jetson:
#
#     docker build -f docker/jetson.Dockerfile -t contextface:jetson .
#
# docs/jetson.md says what of this was tried.
FROM nvcr.io/nvidia/l4t-jetpack:r36.4.0

ENV DEBIAN_FRONTEND=noninteractive LANG=C.UTF-8 ROS_DISTRO=humble
SHELL ["/bin/bash", "-o", "pipefail", "-c"]

RUN apt-get update && apt-get install -y --no-install-recommends \
        ca-certificates curl gnupg cmake g++ git python3-dev python3-pip python3-venv \
        libegl1 libgl1 libgl1-mesa-dri libxrender1 \
    && curl -fsSL https://raw.githubusercontent.com/ros/rosdistro/master/ros.key \
        -o /usr/share/keyrings/ros-archive-keyring.gpg \
    && echo "deb [arch=$(dpkg --print-architecture) signed-by=/usr/share/keyrings/ros-archive-keyring.gpg] http://packages.ros.org/ros2/ubuntu jammy main" \
        > /etc/apt/sources.list.d/ros2.list \
    && apt-get update && apt-get install -y --no-install-recommends \
        ros-humble-ros-base ros-humble-diagnostic-msgs ros-humble-lifecycle-msgs \
    && rm -rf /var/lib/apt/lists/*

# llama.cpp first, and alone: half an hour that no later change should cost again. 87 is Orin's
# architecture. While an image is built there is no driver, so the linker is shown CUDA's stub of it.
WORKDIR /opt/contextface
RUN python3 -m venv --system-site-packages venv && venv/bin/pip install --no-cache-dir -U pip
COPY requirements/core.txt requirements/
RUN ln -s libcuda.so /usr/local/cuda/lib64/stubs/libcuda.so.1 \
    && LIBRARY_PATH=/usr/local/cuda/lib64/stubs \
       CUDACXX=/usr/local/cuda/bin/nvcc \
       CMAKE_ARGS="-DGGML_CUDA=on -DCMAKE_CUDA_ARCHITECTURES=87 -DCMAKE_EXE_LINKER_FLAGS=-Wl,-rpath-link,/usr/local/cuda/lib64/stubs" \
       venv/bin/pip install --no-cache-dir --no-binary llama-cpp-python \
           "$(sed -n 's/^\(llama-cpp-python[^ ]*\).*/\1/p' requirements/core.txt)" \
    && rm /usr/local/cuda/lib64/stubs/libcuda.so.1

COPY requirements requirements
RUN venv/bin/pip install --no-cache-dir -r requirements/core.txt -r requirements/render.txt \
        -r requirements/viewer.txt -c requirements/constraints.txt colcon-core colcon-cmake colcon-ros \
    && venv/bin/pip install --no-cache-dir --no-deps -r requirements/data.txt

COPY . src/contextface_ros
RUN . /opt/ros/humble/setup.sh && . venv/bin/activate && touch venv/COLCON_IGNORE \
    && python -m colcon build --packages-select contextface_ros

COPY docker/entrypoint.sh /entrypoint.sh
ENTRYPOINT ["/entrypoint.sh"]
CMD ["ros2", "launch", "contextface_ros", "agent.launch.py", "params_file:=/opt/contextface/src/contextface_ros/config/jetson.yaml"]
