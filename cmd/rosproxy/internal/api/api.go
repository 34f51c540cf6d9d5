// Package api is the shape of what the admin endpoints answer: for package admin,
// which answers, and package client, which asks. It has no behaviour.
package api

// Error is an answer whose code is not of success.
type Error struct {
	Error string `json:"error"`
}
