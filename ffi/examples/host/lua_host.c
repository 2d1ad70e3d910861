/* A host: coroutines of Lua over poly_loop. `lua_host PROGRAM.lua [ARGUMENT…]` runs a program that may call
 *
 *     spawn(function, …)          begins a coroutine
 *     sleep(seconds)              waits, and lets the others run
 *     listen()                    a listener on the loopback, and its port
 *     accept(fd)                  a connection
 *     receive(fd [, seconds])     a string, or 0 at the end; waits that long at most
 *     send(fd, string)            sends all of it
 *     close(fd)                   closes what nobody waits for
 *
 * What waits suspends its coroutine and nobody else. What fails gives nil and why. The program ends when its file has
 * run to the end, whatever other coroutines wait for.
 *
 * Lua's registry keeps each coroutine while it lives, and its stack the string that it sends: so the kernel may read
 * that. What is received comes in a buffer of the loop's, for the kernel must never write to what is Lua's. */
#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <polyphony.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

typedef struct {
    lua_State *lua;
    uint64_t operation, timer; /* what it waits for; 0 is nothing */
    int arguments;             /* those of its function, while it has not begun */
    int late;                  /* the time was up, so its operation has been cancelled */
} coroutine;

static poly_loop *loop;
static coroutine *first; /* runs the program's file */

static coroutine *self(lua_State *lua)
{
    return *(coroutine **)lua_getextraspace(lua);
}

static int fail(lua_State *lua, int64_t error)
{
    lua_pushnil(lua);
    lua_pushstring(lua, poly_strerror((int)error));
    return 2;
}

/* Moves a function and its arguments, all that is on the stack, to a coroutine of their own. */
static coroutine *begin(lua_State *lua)
{
    coroutine *made = (coroutine *)calloc(1, sizeof *made);
    int count = lua_gettop(lua);
    luaL_argcheck(lua, made != NULL, 1, "no memory for a coroutine");
    made->lua = lua_newthread(lua);
    made->arguments = count - 1;
    *(coroutine **)lua_getextraspace(made->lua) = made;
    lua_rawsetp(lua, LUA_REGISTRYINDEX, made);
    lua_xmove(lua, made->lua, count);
    poly_loop_ready(loop, (uintptr_t)made);
    return made;
}

/* Gives a coroutine its turn, with what its call returns on top of its stack. */
static void resume(coroutine *turn, int count)
{
    int results, status = lua_resume(turn->lua, NULL, count, &results);
    if (status == LUA_YIELD)
        return;
    if (status != LUA_OK)
        fprintf(stderr, "%s\n", lua_tostring(turn->lua, -1));
    if (turn == first)
        first = NULL;
    lua_pushnil(turn->lua);
    lua_rawsetp(turn->lua, LUA_REGISTRYINDEX, turn); /* nobody keeps it any more */
    free(turn);
}

/* An operation has ended: what the call returns. */
static int results_of(coroutine *turn, const poly_loop_event *event)
{
    poly_loop_disarm(loop, turn->timer); /* if it has one: from now on it is not heard of */
    turn->operation = turn->timer = 0;
    if (event->result < 0)
        return fail(turn->lua, turn->late && event->result == -ECANCELED ? -ETIMEDOUT : event->result);
    if (event->data == NULL)
        lua_pushinteger(turn->lua, event->result);
    else
        lua_pushlstring(turn->lua, (const char *)event->data, (size_t)event->result);
    poly_loop_release(loop, event->data);
    return 1;
}

static void deliver(const poly_loop_event *event)
{
    coroutine *turn = (coroutine *)(uintptr_t)event->user_data;
    if (event->kind == POLY_LOOP_COMPLETED) {
        resume(turn, results_of(turn, event));
    } else if (turn->operation != 0) { /* its time is up: the last event of the operation follows */
        turn->late = poly_loop_cancel(loop, turn->operation) == 0;
    } else {
        int count = turn->arguments; /* begins, or has slept */
        turn->arguments = 0;
        resume(turn, count);
    }
}

/* Suspends the calling coroutine until an operation has ended. */
static int perform(lua_State *lua, uint32_t kind, const char *bytes, size_t length, uint32_t flags)
{
    poly_operation operation = { 0 };
    int error;
    operation.kind = kind;
    operation.fd = (int)luaL_checkinteger(lua, 1);
    operation.pointer = (void *)(uintptr_t)bytes;
    operation.length = length;
    operation.flags = flags;
    operation.user_data = (uintptr_t)self(lua);
    self(lua)->late = 0;
    error = poly_loop_submit(loop, &operation, &self(lua)->operation);
    return error < 0 ? fail(lua, error) : lua_yield(lua, 0);
}

static void arm(lua_State *lua, lua_Number seconds)
{
    uint64_t deadline = poly_now() + (uint64_t)(seconds * 1e9);
    poly_loop_arm(loop, deadline, (uintptr_t)self(lua), &self(lua)->timer);
}

static int l_spawn(lua_State *lua)
{
    luaL_checktype(lua, 1, LUA_TFUNCTION);
    begin(lua);
    return 0;
}

static int l_sleep(lua_State *lua)
{
    arm(lua, luaL_checknumber(lua, 1));
    return lua_yield(lua, 0);
}

static int l_listen(lua_State *lua)
{
    int fd = poly_tcp_listen("127.0.0.1", "0", 128, 0);
    lua_pushinteger(lua, fd); /* an error shows at the first accept */
    lua_pushinteger(lua, poly_local_port(fd));
    return 2;
}

static int l_accept(lua_State *lua)
{
    return perform(lua, POLY_OPERATION_ACCEPT, NULL, 0, SOCK_CLOEXEC);
}

static int l_receive(lua_State *lua)
{
    if (!lua_isnoneornil(lua, 2))
        arm(lua, luaL_checknumber(lua, 2));
    return perform(lua, POLY_OPERATION_READ_BUFFER, NULL, 16384, 0);
}

static int l_send(lua_State *lua)
{
    size_t length;
    const char *bytes = luaL_checklstring(lua, 2, &length);
    return perform(lua, POLY_OPERATION_SEND, bytes, length, MSG_WAITALL);
}

static int l_close(lua_State *lua)
{
    return perform(lua, POLY_OPERATION_CLOSE, NULL, 0, 0);
}

int main(int count, char **arguments)
{
    static const luaL_Reg functions[] = { { "spawn", l_spawn },     { "sleep", l_sleep }, { "listen", l_listen },
                                          { "accept", l_accept },   { "send", l_send },   { "close", l_close },
                                          { "receive", l_receive }, { NULL, NULL } };
    lua_State *lua = luaL_newstate();
    poly_loop_event event;
    int each, next = POLY_LOOP_WAIT;
    if (lua == NULL || count < 2 || poly_loop_new(NULL, &loop) < 0)
        return 2;
    luaL_openlibs(lua);
    lua_pushglobaltable(lua);
    luaL_setfuncs(lua, functions, 0);
    lua_settop(lua, 0);
    if (luaL_loadfile(lua, arguments[1]) != LUA_OK)
        return fprintf(stderr, "%s\n", lua_tostring(lua, -1));
    for (each = 2; each < count; each++)
        lua_pushstring(lua, arguments[each]);
    first = begin(lua);
    while (first != NULL && next >= 0) {
        if ((next = poly_loop_next(loop, &event)) == POLY_LOOP_EVENT)
            deliver(&event);
        else
            next = poly_loop_wait(loop, POLY_FOREVER);
    }
    poly_loop_free(loop); /* first: what is in flight reads Lua's strings */
    lua_close(lua);
    return next < 0;
}
