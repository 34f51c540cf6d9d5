package main

// rest are the sections of the page of which the grammar knows nothing.
const rest = `.SH "ENVIRONMENT"
.TP
\fBROSPROXY_\fIFLAG\fR
The value of a flag that is not given: its name in capitals, with _ for \-, as in
\fBROSPROXY_HOLD_TIMEOUT\fR. Flags that are for one call of a client command alone
(\fB\-\-label\fR, \fB\-\-limit\fR, \fB\-\-grace\fR and the like) have none. An empty
variable counts as unset, and \fBrun\fR warns of one that names no flag.
.TP
\fBCONSUL_HTTP_ADDR\fR, \fBCONSUL_HTTP_TOKEN\fR, \fBCONSUL_CACERT\fR, ...
Consul's own variables keep their meaning. \fBCONSUL_HOST\fR and \fBCONSUL_PORT\fR count
where neither \fB\-\-consul\-addr\fR nor \fBCONSUL_HTTP_ADDR\fR is given.
.SH "FILES"
.TP
.I /etc/rosproxy/rosproxy.yaml
The configuration of the packaged service. A reload reads it anew.
.TP
.I /etc/default/rosproxy
The environment of the packaged service. A restart reads it anew; a reload does not.
.TP
.I /run/rosproxy/rosproxy\-PID.sock
Admin endpoints of a process that drains after another has taken over.
.SH "SIGNALS"
.TP
\fBSIGTERM\fR, \fBSIGINT\fR
Drain and exit; a second one ends at once.
.TP
\fBSIGUSR2\fR, \fBSIGHUP\fR
Replace the process by one that reads binary and files anew and takes over the
sockets. The old one drains. When the new one fails, nothing changes.
.TP
\fBSIGQUIT\fR
Dump the stacks of all goroutines and exit.
.SH "EXIT STATUS"
.TP
0
Done; of \fBrun\fR: drained, also when the deadline ended the rest.
.TP
1
Failed at run time; of \fBcheck\fR: something is wrong; of a client command: not done.
.TP
2
Wrong usage or configuration. One line names the flag, the value and the reason.
.SH "EXAMPLES"
.TP
Sync workers of one label, as the Consul agent on this machine names them:
.B rosproxy \-\-listen europe=:7800
.TP
PostgreSQL under Patroni, by the key that the leader holds:
.B rosproxy \-\-listen :5432 \-\-leader\-key service/batman/leader \-\-leader\-format patroni
.TP
What would run, and whether this machine and Consul are fit for it:
.B rosproxy check \-\-config /etc/rosproxy/rosproxy.yaml
.SH "SEE ALSO"
.BR systemctl (1),
.BR consul (1),
.BR haproxy (1)
`
