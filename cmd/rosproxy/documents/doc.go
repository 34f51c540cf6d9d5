// Package documents reads the documents of this repository, for tests alone:
// what they say is held against the repository and the program. Its own tests
// see to it that links lead somewhere, that recipes are the files that other
// tests run, that commands are run, and that every line of the log is explained.
package documents
