package image

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"debug/elf"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"testing"
)

// program is the smallest ELF file with the given segments.
func program(machine elf.Machine, segments ...elf.ProgType) []byte {
	var b bytes.Buffer
	h := elf.Header64{Type: uint16(elf.ET_EXEC), Machine: uint16(machine), Version: 1, Phoff: 64, Ehsize: 64, Phentsize: 56,
		Phnum: uint16(len(segments)), Shentsize: 64}
	copy(h.Ident[:], "\x7fELF\x02\x01\x01")
	binary.Write(&b, binary.LittleEndian, h)
	for _, s := range segments {
		binary.Write(&b, binary.LittleEndian, elf.Prog64{Type: uint32(s)})
	}
	return b.Bytes()
}

func read(t *testing.T, archive []byte) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	for r := tar.NewReader(bytes.NewReader(archive)); ; {
		h, err := r.Next()
		if err == io.EOF {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		if files[h.Name], err = io.ReadAll(r); err != nil {
			t.Fatal(err)
		}
	}
}

func TestEveryNameLeadsToTheProgram(t *testing.T) {
	prog := program(elf.EM_X86_64, elf.PT_LOAD)
	i := Image{Names: []string{"a.local/x:1", "a.local/y:2"}, User: "65532:65532", Binary: "/some/where/shop", Args: []string{"serve"}}
	archive, err := i.archive(prog)
	if err != nil {
		t.Fatal(err)
	}
	files := read(t, archive)
	blob := func(digest string) []byte {
		b := files["blobs/sha256/"+digest[len("sha256:"):]]
		if fmt.Sprintf("sha256:%x", sha256.Sum256(b)) != digest {
			t.Fatalf("blob %s is missing or wrong", digest)
		}
		return b
	}
	type descriptor struct {
		Digest      string
		Annotations map[string]string
	}
	var index struct{ Manifests []descriptor }
	decode(t, files["index.json"], &index)
	if len(index.Manifests) != 2 {
		t.Fatalf("index: %s", files["index.json"])
	}
	for n, m := range index.Manifests {
		if got := m.Annotations["io.containerd.image.name"]; got != i.Names[n] {
			t.Errorf("name %q", got)
		}
		var manifest struct {
			Config descriptor
			Layers []descriptor
		}
		decode(t, blob(m.Digest), &manifest)
		var config struct {
			Architecture string
			Config       struct {
				Entrypoint []string
				User       string
			}
			Rootfs struct {
				Diff []string `json:"diff_ids"`
			}
		}
		decode(t, blob(manifest.Config.Digest), &config)
		if config.Architecture != "amd64" || config.Config.User != i.User || fmt.Sprint(config.Config.Entrypoint) != "[/shop serve]" {
			t.Errorf("config: %+v", config)
		}
		if config.Rootfs.Diff[0] != manifest.Layers[0].Digest {
			t.Error("the layer's diff ID is not its digest")
		}
		if got := read(t, blob(manifest.Layers[0].Digest))["shop"]; !bytes.Equal(got, prog) {
			t.Error("the layer does not hold the program")
		}
	}
	if again, _ := i.archive(prog); !bytes.Equal(again, archive) {
		t.Error("the same input gives other bytes")
	}
}

func TestWhatCannotRunIsRefused(t *testing.T) {
	for what, prog := range map[string][]byte{
		"dynamic":       program(elf.EM_X86_64, elf.PT_LOAD, elf.PT_INTERP),
		"other machine": program(elf.EM_RISCV, elf.PT_LOAD),
		"script":        []byte("#!/bin/sh\n"),
	} {
		if _, err := (Image{Binary: "x"}).archive(prog); err == nil {
			t.Errorf("%s: built", what)
		}
	}
}

func TestADirectoryBecomesTheImage(t *testing.T) {
	root := t.TempDir()
	prog := program(elf.EM_X86_64, elf.PT_LOAD, elf.PT_INTERP)
	if err := errors.Join(
		os.Mkdir(filepath.Join(root, "bin"), 0o755),
		os.WriteFile(filepath.Join(root, "bin/dash"), prog, 0o755),
		os.Symlink("dash", filepath.Join(root, "bin/sh")),
	); err != nil {
		t.Fatal(err)
	}
	entrypoint, layer, err := Image{Root: root, Binary: "bin/sh"}.layer(prog)
	if err != nil || entrypoint != "/bin/sh" {
		t.Fatalf("entrypoint %s, %v", entrypoint, err)
	}
	links := map[string]string{}
	for r := tar.NewReader(bytes.NewReader(layer)); ; {
		h, err := r.Next()
		if err != nil {
			break
		}
		links[h.Name] = h.Linkname
	}
	if want := map[string]string{"bin/": "", "bin/dash": "", "bin/sh": "dash"}; !maps.Equal(links, want) {
		t.Errorf("the layer holds %v", links)
	}
}

func decode(t *testing.T, b []byte, v any) {
	t.Helper()
	if err := json.Unmarshal(b, v); err != nil {
		t.Fatalf("%v in %s", err, b)
	}
}
