// Package documents has no code of its own, only tests: what the documents of
// this repository say is held against the repository and the program. Links
// lead somewhere, recipes are the files that other tests run, and commands are
// run.
package documents
