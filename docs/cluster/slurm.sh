#!/bin/bash
# A study as an array job of Slurm: sbatch docs/cluster/slurm.sh --preset=paper ...
# One task for each member, or fewer. The same line again resumes what was not finished.
#SBATCH --job-name=v1keras-study
#SBATCH --array=0-8
#SBATCH --ntasks=1 --cpus-per-task=8 --gpus-per-task=1
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --output=%x-%A-%a.log

# srun passes signals on, so that a task that must go ends in order.
srun python -m v1keras.study "$@"
