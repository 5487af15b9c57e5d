# x86_64 with an NVIDIA GPU: Ubuntu 24.04, Python 3.12, CUDA 12.8, ROS 2 Jazzy.
#
#     docker build -f docker/cuda.Dockerfile -t contextface:cuda .
#     docker build -f docker/cuda.Dockerfile --build-arg CUDA_ARCHITECTURES=89 -t contextface:cuda .
#
# docs/jetson.md says what of this was tried.
ARG CUDA=12.8.1

# 86: RTX 30, 89: RTX 40, 120: RTX 50. One architecture is built in a third of the time of three.
FROM nvidia/cuda:${CUDA}-devel-ubuntu24.04 AS llama
ARG CUDA_ARCHITECTURES="86;89;120"
RUN apt-get update && apt-get install -y --no-install-recommends cmake g++ git python3-dev python3-pip
COPY requirements/core.txt requirements/
RUN ln -s libcuda.so /usr/local/cuda/lib64/stubs/libcuda.so.1 \
    && LIBRARY_PATH=/usr/local/cuda/lib64/stubs \
       CMAKE_ARGS="-DGGML_CUDA=on -DGGML_NATIVE=off -DCMAKE_CUDA_ARCHITECTURES=${CUDA_ARCHITECTURES} -DCMAKE_EXE_LINKER_FLAGS=-Wl,-rpath-link,/usr/local/cuda/lib64/stubs" \
       pip wheel --no-cache-dir --no-deps --no-binary llama-cpp-python --wheel-dir /wheels \
           "$(sed -n 's/^\(llama-cpp-python[^ ]*\).*/\1/p' requirements/core.txt)"

FROM nvidia/cuda:${CUDA}-cudnn-runtime-ubuntu24.04
ENV DEBIAN_FRONTEND=noninteractive LANG=C.UTF-8 ROS_DISTRO=jazzy
SHELL ["/bin/bash", "-o", "pipefail", "-c"]

RUN apt-get update && apt-get install -y --no-install-recommends \
        ca-certificates curl gnupg cmake g++ python3-dev python3-venv \
        libegl1 libgl1 libgl1-mesa-dri libxrender1 \
    && curl -fsSL https://raw.githubusercontent.com/ros/rosdistro/master/ros.key \
        -o /usr/share/keyrings/ros-archive-keyring.gpg \
    && echo "deb [arch=$(dpkg --print-architecture) signed-by=/usr/share/keyrings/ros-archive-keyring.gpg] http://packages.ros.org/ros2/ubuntu noble main" \
        > /etc/apt/sources.list.d/ros2.list \
    && apt-get update && apt-get install -y --no-install-recommends \
        ros-jazzy-ros-base ros-jazzy-diagnostic-msgs ros-jazzy-lifecycle-msgs \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /opt/contextface
COPY --from=llama /wheels /wheels
COPY requirements requirements
# The face head on the GPU too. onnxruntime and onnxruntime-gpu install the same module, so the
# first is taken out again before the second comes.
RUN python3 -m venv --system-site-packages venv \
    && venv/bin/pip install --no-cache-dir /wheels/*.whl \
    && venv/bin/pip install --no-cache-dir -r requirements/core.txt -r requirements/render.txt \
        -r requirements/viewer.txt -c requirements/constraints.txt colcon-core colcon-cmake colcon-ros \
    && venv/bin/pip uninstall -y onnxruntime \
    && venv/bin/pip install --no-cache-dir -r requirements/gpu.txt \
    && venv/bin/pip install --no-cache-dir --no-deps -r requirements/data.txt \
    && rm -r /wheels

COPY . src/contextface_ros
RUN . /opt/ros/jazzy/setup.sh && . venv/bin/activate && touch venv/COLCON_IGNORE \
    && python -m colcon build --packages-select contextface_ros

COPY docker/entrypoint.sh /entrypoint.sh
ENTRYPOINT ["/entrypoint.sh"]
CMD ["ros2", "launch", "contextface_ros", "agent.launch.py"]
