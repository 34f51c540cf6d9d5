package main

import "fmt"

// point is how far a copy goes: as the master of an epoch of a history had so
// many records.
type point struct {
	History string `json:"history"`
	Epoch   uint64 `json:"epoch"`
	Records int    `json:"records"`
}

func (p point) String() string {
	return fmt.Sprintf("record %d of history %s, epoch %d", p.Records, p.History, p.Epoch)
}

// newer reports whether p goes further than o, which is of the same history. A
// later master may have fewer records: those that the former had not acknowledged
// are gone.
func (p point) newer(o point) bool {
	return p.History == o.History && (p.Epoch > o.Epoch || p.Epoch == o.Epoch && p.Records > o.Records)
}
