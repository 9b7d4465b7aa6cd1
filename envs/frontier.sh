# OLCF Frontier: modules, variables and the Python environment. Sourced, never run:
#   - on a login node, before `snakemake --profile profiles/frontier …`: source envs/frontier.sh
#   - in each training job by envs/launch.sh, before srun; there it also unpacks the packed
#     environment onto each node's NVMe, from which thousands of ranks start as fast as one.
#
# It needs ORBWEAVER_PROJECT, the project's folder on Orion. May be exported: ORBWEAVER_ENV (the Python
# environment there; $ORBWEAVER_PROJECT/orbweaver-env by default; packed beside it with
# `conda-pack -p $ORBWEAVER_ENV -o $ORBWEAVER_ENV.tar.gz`), ORBWEAVER_MODULES (other versions).

_orbweaver_fail() {
  echo "envs/frontier.sh: $1" >&2
  return 1
}

_orbweaver_modules() {
  type module > /dev/null 2>&1 || _orbweaver_fail \
    "this shell has no \`module\` command; on another site use another environment file" || return
  # In this order: the compiler environment first, ROCm before the network plug-in built for it.
  local modules=${ORBWEAVER_MODULES:-PrgEnv-gnu cpe miniforge3 rocm craype-accel-amd-gfx90a rccl-net-plugin}
  local name
  for name in $modules; do
    module load "$name" || _orbweaver_fail "module $name cannot be loaded; name others in ORBWEAVER_MODULES" || return
  done
}

_orbweaver_variables() {
  # rccl-net-plugin sets what RCCL and libfabric need (NCCL_NET_GDR_LEVEL, FI_CXI_…, NCCL_SOCKET_IFNAME).
  export GLOO_SOCKET_IFNAME=${GLOO_SOCKET_IFNAME:-hsn0} # gloo would take the management network
  export PYTHONNOUSERSITE=1 # packages below $HOME would come before the environment's
  local fast=/tmp
  [[ -z ${SLURM_JOB_ID:-} ]] || fast=$ORBWEAVER_NVME
  # MIOpen's caches are SQLite files, which Lustre's locks make slow and thousands of ranks break.
  export MIOPEN_USER_DB_PATH=$fast/miopen-$USER MIOPEN_CUSTOM_CACHE_DIR=$fast/miopen-$USER
}

# Copy the packed environment to every node and unpack it there.
_orbweaver_unpack() {
  local packed=$ORBWEAVER_ENV.tar.gz there=$ORBWEAVER_NVME/orbweaver-env
  if [[ ! -f $packed ]]; then
    echo "envs/frontier.sh: no $packed: ranks start from $ORBWEAVER_ENV on the shared file system," \
      "which takes minutes at scale. Make it with: conda-pack -p $ORBWEAVER_ENV -o $packed" >&2
    return 0
  fi
  # A failed sbcast leaves parts of the file on some nodes: never go on from there.
  sbcast --force --preserve "$packed" "$there.tar.gz" || _orbweaver_fail \
    "sbcast of $packed to $there.tar.gz failed on a node" || return
  srun --nodes="$ORBWEAVER_NODES" --ntasks="$ORBWEAVER_NODES" --ntasks-per-node=1 \
    bash -c 'set -e; rm -rf "$1"; mkdir -p "$1"; tar -xzf "$1.tar.gz" -C "$1"; rm "$1.tar.gz"
      "$1/bin/python" "$1/bin/conda-unpack"' unpack "$there" || _orbweaver_fail \
    "$packed could not be unpacked into $there on every node" || return
  export PATH=$there/bin:$PATH
  echo "envs/frontier.sh: the environment is on the NVMe of $ORBWEAVER_NODES nodes ($there)" >&2
}

_orbweaver_job() {
  # Of this node, where rank 0 will be; a host's name may mean its management network.
  MASTER_ADDR=$(hostname -i) || _orbweaver_fail "hostname -i failed" || return
  export MASTER_ADDR=${MASTER_ADDR%% *}
  export HF_HUB_OFFLINE=1 # compute nodes never touch the network: data and weights are fetched before
  _orbweaver_unpack
}

_orbweaver_all() {
  [[ -n ${ORBWEAVER_PROJECT:-} ]] || _orbweaver_fail \
    "set the project's folder first: export ORBWEAVER_PROJECT=/lustre/orion/<project>/scratch/$USER" || return
  : "${ORBWEAVER_ENV:=$ORBWEAVER_PROJECT/orbweaver-env}" "${ORBWEAVER_NVME:=/mnt/bb/$USER}"
  _orbweaver_modules && _orbweaver_variables || return
  export PATH=$ORBWEAVER_ENV/bin:$PATH # after the modules: miniforge3 brings a Python of its own
  if [[ -n ${SLURM_JOB_ID:-} && -n ${ORBWEAVER_NODES:-} ]]; then
    _orbweaver_job
  fi
}

_orbweaver_all
