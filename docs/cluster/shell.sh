#!/bin/bash
# A study by one process for each GPU: bash docs/cluster/shell.sh --preset=paper ...
# On several machines that share the folder, start it on each.
gpus=${GPUS:-$(nvidia-smi --list-gpus | wc -l)}

for ((gpu = 0; gpu < gpus; gpu++)); do
  CUDA_VISIBLE_DEVICES=$gpu JOB_COMPLETION_INDEX=$gpu python -m v1keras.study "$@" &
done
wait
# What a killed process has left, if one was.
exec python -m v1keras.study "$@"
