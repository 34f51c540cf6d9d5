package results

import (
	"fmt"
	"strings"
	"time"
)

// Markdown is the report of r; plots are the files of its plots, with what they show.
func Markdown(r *Run, plots []Plot) string {
	var b strings.Builder
	b.WriteString("# rosproxy, side by side with what operators would pick instead\n\n")
	fmt.Fprintf(&b, "Written by `%s`, %s, in %s. Do not edit.\n\n", r.Command, r.Began.UTC().Format("2006-01-02 15:04 MST"), r.Took.Round(time.Second))
	b.WriteString("| | |\n|---|---|\n")
	for _, f := range r.Machine {
		fmt.Fprintf(&b, "| %s | %s |\n", f.Name, cell(f.Value))
	}
	fmt.Fprintf(&b, "\nMedians of %d rounds, with the least and the most in parentheses; rounds are interleaved (A B C A B C ...). "+
		"Of requests and responses, and of one connection among others, there are twice as many; of labels a fifth.\n\n", r.Rounds)
	writeRatios(&b, r)
	for _, p := range plots {
		fmt.Fprintf(&b, "![%s](%s)\n\n", p.Title, p.File)
	}
	writeMedians(&b, r)
	b.WriteString(method)
	return b.String()
}

func writeRatios(b *strings.Builder, r *Run) {
	b.WriteString("## Ratios against targets\n\n")
	met, all := 0, 0
	var rows strings.Builder
	for _, w := range r.Workloads {
		for _, c := range w.Checks {
			v, f := w.Judge(c), w.Figure(c.Figure)
			all++
			if v.Met {
				met++
			}
			word := v.word()
			if !v.Met {
				word = "**" + word + "**"
			}
			fmt.Fprintf(&rows, "| %s | %s | %s %s | %s | %s | %s | %s |\n",
				w.Name, c.subject(), Number(v.Own), f.Unit, v.against(f), Number(v.Value), c.target(), word)
		}
	}
	fmt.Fprintf(b, "%d of %d targets are met.\n\n", met, all)
	b.WriteString("| workload | figure | rosproxy | compared with | ratio, or value | target | |\n|---|---|---|---|---|---|---|\n")
	b.WriteString(rows.String() + "\n")
}

func writeMedians(b *strings.Builder, r *Run) {
	b.WriteString("## What was measured\n\n")
	for _, w := range r.Workloads {
		fmt.Fprintf(b, "### %s\n\n`bench run -workload %s`: %s\n\n", w.Title, w.Name, w.About)
		if w.Later != "" {
			fmt.Fprintf(b, "Measured later than the rest: %s.\n\n", w.Later)
		}
		fmt.Fprintf(b, "| | %s |\n|---|%s\n", strings.Join(w.Peers, " | "), strings.Repeat("---|", len(w.Peers)))
		for _, f := range w.Figures {
			fmt.Fprintf(b, "| %s |", strings.TrimSuffix(f.Name+", "+f.Unit, ", "))
			for _, p := range w.Peers {
				fmt.Fprintf(b, " %s |", f.Of(p))
			}
			b.WriteString("\n")
		}
		b.WriteString("\n")
		for _, f := range w.Failures {
			fmt.Fprintf(b, "%s failed %d times: %s\n\n", f.Peer, f.Times, cell(f.Reason))
		}
	}
}

// cell keeps text within a cell of a table.
func cell(s string) string {
	return strings.ReplaceAll(strings.ReplaceAll(strings.TrimSpace(s), "\n", " "), "|", "\\|")
}

const method = `## How it is measured

- Everything is on loopback. Clients, proxy and masters are processes of their own, started anew for each run, with addresses that no earlier run has used.
  They share the CPUs, so throughput and latency are those of the whole path, and the CPU time is the proxy's alone.
- CPU time is the scheduler's account of the proxy and its children in nanoseconds, user and system. What the kernel does for a packet counts for whoever
  it interrupts, as on any Linux without CONFIG_IRQ_TIME_ACCOUNTING; on loopback that is nearly always the one who sent it.
- The load generator sends by sendfile(2) from a memfd and receives with MSG_TRUNC, so that it copies nothing, except where a sink that copies is said; *direct* is the load without a proxy, the bound
  of what the machine gives.
- *floor* is the least that a proxy can do on this kernel: an epoll loop in C for each CPU with the fewest system calls that keep FIN in, FIN out, and nothing
  else (bench/internal/peers/floor/floor.c). What it takes is the kernel's. The *bulk floor* is the same for streams, with the fewest splices (bulk.c beside it).
- The kernel's memory for TCP is that of the whole machine (/proc/net/sockstat, in pages), less what it was before.
- A busiest thread without a CPU was ready to run, and waited in the kernel's queue for one (schedstat).
- GB is 10^9 bytes, MB and KB likewise but for the sizes of messages, where KB is 1,024. Latencies are from an HDR histogram with three digits.
- HAProxy: mode tcp, option splice-auto, a thread for each CPU. nginx: stream, a worker for each CPU. rosproxy: its defaults. io.Copy: two goroutines a connection.
- Whatever else is configured is in bench/internal/peers; what exactly each workload does, in bench/internal/workloads.
`
