package api

// Connection is one element of /connections.
type Connection struct {
	ID        uint64  `json:"id"`
	Label     string  `json:"label"`
	Client    string  `json:"client"`
	Source    string  `json:"source"` // named by a PROXY header; empty without one
	Master    string  `json:"master"` // empty before one is dialled
	Epoch     uint64  `json:"epoch"`
	Age       float64 `json:"age_s"`
	BytesUp   uint64  `json:"bytes_up"`
	BytesDown uint64  `json:"bytes_down"`
	State     string  `json:"state"`
}
