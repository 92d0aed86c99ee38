// Ticks the clock until the machine stops.
#include "Vmachine.h"
#include "verilated.h"

int main(int argc, char** argv) {
    VerilatedContext context;
    context.commandArgs(argc, argv);
    Vmachine machine{&context};
    while (!context.gotFinish()) {
        machine.clock = !machine.clock;
        machine.eval();
        context.timeInc(1);
    }
    machine.final();
    return 0;
}
