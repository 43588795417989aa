// Package image writes an OCI image around one static binary, or of a directory, without
// a registry or a container engine: in goes a program, out comes an archive that
// containerd imports. The same input gives the same bytes.
package image

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"debug/elf"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// Image is what to build. Around one binary there is no /etc and no shell: it must carry
// whatever `kubectl exec` should run.
type Image struct {
	Names  []string // full references, such as docker.io/test/echo:1
	User   string   // UID:GID
	Root   string   // a directory that is the image's root; empty: there is the binary alone
	Binary string   // becomes /BASENAME, the entrypoint; with a root, a path in it
	Args   []string // follow it
}

type object = map[string]any

// Build writes the archive.
func Build(out string, i Image) error {
	program, err := os.ReadFile(filepath.Join(i.Root, i.Binary))
	if err != nil {
		return err
	}
	b, err := i.archive(program)
	if err != nil {
		return fmt.Errorf("%s: %w", i.Binary, err)
	}
	return os.WriteFile(out, b, 0o644)
}

func (i Image) archive(program []byte) ([]byte, error) {
	arch, err := architecture(program, i.Root != "")
	if err != nil {
		return nil, err
	}
	entrypoint, layer, err := i.layer(program)
	if err != nil {
		return nil, err
	}
	files := []file{{"oci-layout", 0o644, []byte(`{"imageLayoutVersion":"1.0.0"}`)}}
	blob := func(kind string, b []byte) object {
		digest := fmt.Sprintf("%x", sha256.Sum256(b))
		files = append(files, file{"blobs/sha256/" + digest, 0o644, b})
		return object{"mediaType": "application/vnd.oci.image." + kind, "digest": "sha256:" + digest, "size": len(b)}
	}
	l := blob("layer.v1.tar", layer)
	config, err := json.Marshal(object{
		"architecture": arch, "os": "linux",
		"config": object{"Entrypoint": append([]string{entrypoint}, i.Args...), "User": i.User,
			"Env": []string{"PATH=/"}, "WorkingDir": "/"},
		"rootfs": object{"type": "layers", "diff_ids": []any{l["digest"]}}, // uncompressed: diff ID = digest
	})
	if err != nil {
		return nil, err
	}
	manifest, err := json.Marshal(object{"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
		"config": blob("config.v1+json", config), "layers": []object{l}})
	if err != nil {
		return nil, err
	}
	m := blob("manifest.v1+json", manifest)
	var entries []object
	for _, name := range i.Names { // containerd names the image by this annotation
		entries = append(entries, object{"mediaType": m["mediaType"], "digest": m["digest"], "size": m["size"],
			"annotations": object{"io.containerd.image.name": name}})
	}
	index, err := json.Marshal(object{"schemaVersion": 2, "manifests": entries})
	if err != nil {
		return nil, err
	}
	return tarball(append(files, file{"index.json", 0o644, index}))
}

// layer is what the image holds, and where the program is in it.
func (i Image) layer(program []byte) (entrypoint string, layer []byte, err error) {
	if i.Root == "" {
		base := filepath.Base(i.Binary)
		layer, err = tarball([]file{{base, 0o755, program}})
		return "/" + base, layer, err
	}
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	if err := w.AddFS(os.DirFS(i.Root)); err != nil {
		return "", nil, err
	}
	return filepath.Join("/", i.Binary), b.Bytes(), w.Close()
}

// architecture is the program's, in Go's words. A program that needs an interpreter is
// refused here unless there may be one: in the pod it would end with "no such file or
// directory".
func architecture(program []byte, interpreted bool) (string, error) {
	f, err := elf.NewFile(bytes.NewReader(program))
	if err != nil {
		return "", err
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP && !interpreted {
			return "", errors.New("is not a static binary")
		}
	}
	switch f.Machine {
	case elf.EM_X86_64:
		return "amd64", nil
	case elf.EM_AARCH64:
		return "arm64", nil
	}
	return "", fmt.Errorf("is built for %v", f.Machine)
}

type file struct {
	name string
	mode int64
	data []byte
}

func tarball(files []file) ([]byte, error) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range files {
		if err := w.WriteHeader(&tar.Header{Name: f.name, Mode: f.mode, Size: int64(len(f.data)), Typeflag: tar.TypeReg}); err != nil {
			return nil, err
		}
		if _, err := w.Write(f.data); err != nil {
			return nil, err
		}
	}
	return b.Bytes(), w.Close()
}
