/* See packlight_encode.h. */
#include "packlight_encode.h"

#include "plt_chunk.h"

static plt_segment segment_of(const int32_t *field)
{
    const uint32_t *u = (const uint32_t *)field;
    plt_segment g = {
        .kind = u[0],
        .length = u[1],
        .distance = u[2],
        .factor = u[3],
        .width = u[4],
        .big_endian = u[5],
        .shape = {u[6], u[7], u[8], u[9], u[10]},
        .centre = field[11],
        .range = {field[12], field[13], 0},
        .format = u[14],
        .layout = {.largest = u[15], .zero_bits = u[16], .model_bits = u[17]},
        .palette_size = u[18],
        .palette_zero = u[19],
        .reference = u[20],
        .weights = u[21],
        .lowest = u[22],
        .along = u[23],
    };
    return g;
}

size_t plt_pack_chunk(const void *raw, size_t size, const int32_t *plan, size_t segments,
                      const uint32_t *palettes, size_t palette_values, int continues,
                      const void *base, size_t base_size, void *out, size_t capacity, void *work,
                      size_t work_size)
{
    uint64_t values = 0;
    size_t used = 0;
    plt_range rc;

    if (!raw || !plan || !work || work_size < plt_work_size())
        return 0;
    plt_state *state = plt_state_in(work);
    for (size_t i = 0; i < segments; i++)
        if (plan[i * PLT_PLAN_FIELDS] == PLT_PALETTE)
            values += (uint32_t)plan[i * PLT_PLAN_FIELDS + 18];
    if (values > palette_values)
        return 0;
    if (!continues)
        plt_state_init(state);
    state->base = base;
    state->base_size = base_size;
    if (out)
        plt_range_encode(&rc, out, capacity);
    else
        plt_range_measure(&rc);
    /* The coder reads `raw` only: it writes there in PLT_DECODE mode alone. A plan is handed over
     * segment by segment, so it needs no memory of its own. */
    for (size_t i = 0; used < size; i++) {
        plt_segment g = {0};
        size_t part = 0;
        int open = state->left != 0;
        if (!open) {
            if (i >= segments)
                return 0;
            g = segment_of(plan + i * PLT_PLAN_FIELDS);
        } else {
            i--;
        }
        if (plt_segment_code(state, &rc, (uint8_t *)(uintptr_t)raw, used, size, &g, palettes,
                             &part))
            return 0;
        if (!open && g.kind == PLT_PALETTE)
            palettes += g.palette_size;
        used += part;
    }
    size_t packed = plt_range_finish(&rc);
    return rc.failed ? 0 : packed;
}
