// Go: one P, or two where the row is about two. What a row does stands in ../src/rows.rs.
//
//	go ROW
package main

import (
	"fmt"
	"net"
	"os"
	"runtime"
	"sort"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	yielders   = 100
	yieldsEach = 30_000
	spawns     = 500_000
	rounds     = 500_000
	farRounds  = 50_000
	lockers    = 4
	locksEach  = 250_000
	timeouts   = 500_000
	sleepers   = 10_000
	napsEach   = 20
	readers    = 64
	readsEach  = 3_000
	parkedAll  = 500_000
	pipes      = 4_990
)

func main() {
	row := os.Args[1]
	workers := 1
	if strings.HasSuffix(row, "two workers") {
		workers = 2
	}
	runtime.GOMAXPROCS(workers)
	fmt.Println(measure(row))
}

func measure(row string) float64 {
	start := cpu()
	per := func(units int) float64 { return float64(cpu()-start) / float64(units) }
	switch row {
	case "yield":
		all(yielders, func(int) { repeat(yieldsEach, runtime.Gosched) })
		return per(yielders * yieldsEach)
	case "spawn":
		for n := 0; n < spawns; n++ {
			result := make(chan int)
			go func() { result <- n }()
			check(<-result == n)
		}
		return per(spawns)
	case "skynet of 100,000":
		return skynet(100_000, per)
	case "skynet of 1,000,000":
		return skynet(1_000_000, per)
	case "channel":
		channel(rounds, false)
		return per(rounds)
	case "channel, of two workers":
		channel(rounds, false)
		return per(rounds)
	case "channel, across two workers":
		channel(farRounds, true)
		return per(farRounds)
	case "mutex":
		var mutex sync.Mutex
		all(lockers, func(int) {
			repeat(locksEach, func() {
				mutex.Lock()
				runtime.Gosched()
				mutex.Unlock()
			})
		})
		return per(lockers * locksEach)
	case "timeout":
		repeat(timeouts, func() {
			timer := time.NewTimer(time.Hour)
			runtime.Gosched()
			check(timer.Stop())
		})
		return per(timeouts)
	case "sleep":
		all(sleepers, func(number int) {
			numbers := seeded(number)
			repeat(napsEach, func() { time.Sleep(time.Duration(5_000+numbers.below(10_000)) * time.Microsecond) })
		})
		return per(sleepers * napsEach)
	case "p50":
		return lateness(50)
	case "p99":
		return lateness(99)
	case "file reads":
		reads()
		return per(readers * readsEach)
	case "parked":
		return parked()
	case "echo":
		return serveAll()
	}
	panic("no such row: " + row)
}

// Nanoseconds of CPU time that this process has used, in all its threads and in the kernel.
func cpu() int64 {
	var usage syscall.Rusage
	check(syscall.Getrusage(syscall.RUSAGE_SELF, &usage) == nil)
	return usage.Utime.Nano() + usage.Stime.Nano()
}

func check(right bool) {
	if !right {
		panic("wrong")
	}
}

func repeat(count int, what func()) {
	for n := 0; n < count; n++ {
		what()
	}
}

func all(count int, what func(number int)) {
	var group sync.WaitGroup
	group.Add(count)
	for n := 0; n < count; n++ {
		go func(number int) {
			what(number)
			group.Done()
		}(n)
	}
	group.Wait()
}

func skynet(leaves int, per func(int) float64) float64 {
	sum := make(chan int)
	go branch(sum, 0, leaves)
	check(<-sum == leaves*(leaves-1)/2)
	return per(leaves)
}

func branch(result chan<- int, first, leaves int) {
	if leaves == 1 {
		result <- first
		return
	}
	sums := make(chan int)
	for n := 0; n < 10; n++ {
		go branch(sums, first+n*leaves/10, leaves/10)
	}
	sum := 0
	repeat(10, func() { sum += <-sums })
	result <- sum
}

// Each side has a thread of its own where they should be far from each other.
func channel(rounds int, far bool) {
	there, back := make(chan int, 1), make(chan int, 1)
	if far {
		runtime.LockOSThread()
	}
	go func() {
		if far {
			runtime.LockOSThread()
		}
		for item := range there {
			back <- item
		}
	}()
	for n := 0; n < rounds; n++ {
		there <- n
		check(<-back == n)
	}
	close(there)
}

type numbers uint64

func seeded(seed int) *numbers {
	number := numbers(0x9e3779b97f4a7c15 ^ uint64(seed)*0xd1342543de82ef95)
	return &number
}

func (number *numbers) below(bound uint64) uint64 {
	*number ^= *number << 13
	*number ^= *number >> 7
	*number ^= *number << 17
	return uint64(*number) % bound
}

func lateness(percent int) float64 {
	start := time.Now()
	late := make([]time.Duration, sleepers)
	all(sleepers, func(number int) {
		due := start.Add(200*time.Millisecond + time.Duration(seeded(number).below(1_000_000_000)))
		time.Sleep(time.Until(due))
		late[number] = time.Since(due)
	})
	sort.Slice(late, func(a, b int) bool { return late[a] < late[b] })
	return float64(late[sleepers*percent/100].Nanoseconds()) / 1e3
}

func reads() {
	file, err := os.Open(os.Getenv("POLYPHONY_BENCH_FILE"))
	check(err == nil)
	info, err := file.Stat()
	check(err == nil)
	pages := uint64(info.Size() / 4096)
	all(readers, func(number int) {
		numbers, page := seeded(number), make([]byte, 4096)
		repeat(readsEach, func() {
			count, err := file.ReadAt(page, int64(numbers.below(pages)*4096))
			check(err == nil && count == len(page))
		})
	})
}

// Resident bytes a goroutine that waits for a byte.
func parked() float64 {
	limit := syscall.Rlimit{Cur: 20_000, Max: 20_000}
	syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit)
	var ends [pipes][2]*os.File // the writing ends too: what is collected is closed
	for n := range ends {
		reader, writer, err := os.Pipe()
		check(err == nil)
		ends[n] = [2]*os.File{reader, writer}
	}
	before := resident()
	for n := 0; n < parkedAll; n++ {
		go func(reader *os.File) { reader.Read(make([]byte, 1)) }(ends[n%pipes][0])
	}
	repeat(10, runtime.Gosched)
	each := float64(resident()-before) / parkedAll
	runtime.KeepAlive(ends)
	return each
}

func resident() int {
	status, err := os.ReadFile("/proc/self/status")
	check(err == nil)
	sum := 0
	for _, line := range strings.Split(string(status), "\n") {
		if strings.HasPrefix(line, "VmRSS:") || strings.HasPrefix(line, "VmPTE:") {
			kilobytes, err := strconv.Atoi(strings.Fields(line)[1])
			check(err == nil)
			sum += kilobytes * 1024
		}
	}
	return sum
}

func serveAll() float64 {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	check(err == nil)
	fmt.Printf("listening on port %d\n", listener.Addr().(*net.TCPAddr).Port)
	for {
		connection, err := listener.Accept()
		check(err == nil)
		go serve(connection)
	}
}

func serve(connection net.Conn) {
	defer connection.Close()
	bytes := make([]byte, 1024)
	for {
		count, err := connection.Read(bytes)
		if err != nil {
			return
		}
		if _, err := connection.Write(bytes[:count]); err != nil {
			return
		}
	}
}
