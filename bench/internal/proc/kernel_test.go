package proc

import "testing"

func TestKernelsMemoryIsThatOfTCP(t *testing.T) {
	const text = "sockets: used 221\nTCP: inuse 150 orphan 0 tw 15541 alloc 171 mem 3034\nUDP: inuse 8 mem 256\nFRAG: inuse 0 memory 0\n"
	if got, err := tcpPagesIn([]byte(text)); got != 3034 || err != nil {
		t.Errorf("pages: got %d, %v; want 3034", got, err)
	}
	for _, text := range []string{"", "UDP: inuse 8 mem 256\n", "TCP: inuse 150 mem\n"} {
		if got, err := tcpPagesIn([]byte(text)); err == nil {
			t.Errorf("%q: got %d; want an error", text, got)
		}
	}
	if got, err := KernelTCP(); got < 0 || err != nil {
		t.Errorf("of this machine: got %d, %v", got, err)
	}
}
