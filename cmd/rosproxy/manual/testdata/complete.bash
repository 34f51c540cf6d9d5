# complete.bash DIRECTORY WORD...: what bash offers for the last word.
source "$1/rosproxy.bash"
shift
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
_rosproxy
printf '%s\n' "${COMPREPLY[@]}"
