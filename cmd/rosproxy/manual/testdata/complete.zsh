# complete.zsh DIRECTORY LINE: what zsh makes of the line, or offers, when it completes it.
# That works at a terminal alone: this is one.
zmodload zsh/zpty
zpty shell "TERM=dumb zsh -f -i"
zpty -w shell "PS1=; fpath=($1 \$fpath); autoload -Uz compinit; compinit -u -D; stty -echo"
# Completes, shows what there is, and says when it has.
zpty -w shell "finish() { zle complete-word; zle -R; print -r -- \"LINE=\$BUFFER\"; print DO''NE }; zle -N finish; bindkey '^T' finish; print READ''Y"
while zpty -r shell line; do [[ $line == *READY* ]] && break; done
zpty -w -n shell "$2"$'\C-T'
while zpty -r shell line; do print -r -- "$line"; [[ $line == *DONE* ]] && break; done
zpty -d shell
