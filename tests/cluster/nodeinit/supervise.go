package nodeinit

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

	"bridge/tests/cluster/plan"
)

// restartDelay is how long a program that ended stays down.
const restartDelay = time.Second

// children are the processes that this program waits for. An init must also reap
// processes that it never started, by waiting for any child, so nothing here waits for
// one: reap tells the others how theirs ended. (os/exec would wait on its own.)
var children = struct {
	sync.Mutex
	done map[int]chan syscall.WaitStatus
}{done: map[int]chan syscall.WaitStatus{}}

func reap() {
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, 0, nil)
		if err != nil { // no child yet
			time.Sleep(10 * time.Millisecond)
			continue
		}
		children.Lock()
		if done := children.done[pid]; done != nil {
			done <- status
			delete(children.done, pid)
		}
		children.Unlock()
	}
}

// start starts a program with its output appended to log/NAME.log.
func start(name, program string, args ...string) (chan syscall.WaitStatus, error) {
	path, err := exec.LookPath(program)
	if err != nil {
		return nil, err
	}
	out, err := os.OpenFile(plan.Inside+"/log/"+name+".log", os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	null, err := os.Open(os.DevNull)
	if err != nil {
		return nil, err
	}
	defer null.Close()
	children.Lock() // until done is in the map: it may end at once
	defer children.Unlock()
	pid, err := syscall.ForkExec(path, append([]string{program}, args...), &syscall.ProcAttr{
		Dir: "/", Env: os.Environ(), Files: []uintptr{null.Fd(), out.Fd(), out.Fd()}})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	done := make(chan syscall.WaitStatus, 1)
	children.done[pid] = done
	return done, nil
}

// command runs a program to its end.
func command(name, program string, args ...string) error {
	begin := time.Now()
	done, err := start(name, program, args...)
	if err != nil {
		return err
	}
	status := <-done
	say("%s %s: exit %d after %v", name, strings.Join(args, " "), status.ExitStatus(), time.Since(begin).Round(time.Millisecond))
	if status != 0 {
		return fmt.Errorf("%s %s: exit %d; see log/%s.log", program, strings.Join(args, " "), status.ExitStatus(), name)
	}
	return nil
}

// supervise keeps a program running.
func supervise(name, program string, args ...string) {
	go func() {
		for {
			done, err := start(name, program, args...)
			if err != nil {
				say("%s: %v", name, err)
			} else {
				status := <-done
				say("%s ended: exit %d, signal %v", name, status.ExitStatus(), status.Signal())
			}
			time.Sleep(restartDelay)
		}
	}()
}

// wait polls, since what it waits for are other programs' sockets and files.
func wait(what string, limit time.Duration, ok func() error) error {
	begin := time.Now()
	for {
		err := ok()
		if err == nil {
			say("%s: there after %v", what, time.Since(begin).Round(time.Millisecond))
			return nil
		}
		if time.Since(begin) > limit {
			return fmt.Errorf("%s: not there after %v: %w", what, limit, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// say writes a line to log/node.log.
func say(format string, args ...any) {
	fmt.Printf(time.Now().Format("15:04:05.000 ")+format+"\n", args...)
}
