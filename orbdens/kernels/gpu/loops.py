# mypy: disable-error-code="no-untyped-def"
"""The Triton kernels: one program per block of points (and channel), sites and shells in loops.

Tables come as one pointer each. Shells of a type are in groups of equal l; l is a compile-time number, so that the
2l + 1 orbitals of a shell are the columns of a tensor [points, WIDTH]. Offsets are 64-bit.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def columns(x, y, z, r2, l, start, up, down, STRIDE: tl.constexpr, WIDTH: tl.constexpr, GRADIENT: tl.constexpr):
    """Solid harmonics of one l [points, WIDTH], and with GRADIENT their derivatives by x, y and z."""
    column = tl.arange(0, WIDTH)[None, :]
    s = tl.zeros([x.shape[0], WIDTH], x.dtype)
    sx, sy, sz = s, s, s
    cosine, sine = tl.zeros_like(x) + 1, tl.zeros_like(x)
    cosine_before, sine_before = tl.zeros_like(x), tl.zeros_like(x)
    for m in range(l + 1):
        # q and its derivatives by z and by r², up the recursion in l at fixed m
        q0, q = tl.zeros_like(x), tl.zeros_like(x) + tl.load(start + m)
        z0, qz = tl.zeros_like(x), tl.zeros_like(x)
        r0, qr = tl.zeros_like(x), tl.zeros_like(x)
        for k in range(m + 1, l + 1):
            a, b = tl.load(up + k * STRIDE + m), tl.load(down + k * STRIDE + m)
            if GRADIENT:
                z_next = a * (q + z * qz) - b * r2 * z0
                r_next = a * z * qr - b * (q0 + r2 * r0)
                z0, qz, r0, qr = qz, z_next, qr, r_next
            q_next = a * z * q - b * r2 * q0
            q0, q = q, q_next
        plus, minus = column == l + m, (column == l - m) & (m > 0)
        s = tl.where(plus, (q * cosine)[:, None], tl.where(minus, (q * sine)[:, None], s))
        if GRADIENT:
            # d (x + iy)^m = m (x + iy)^(m-1) (dx + i dy)
            cx, sx_ = m * cosine_before, m * sine_before
            slope = 2 * qr
            dx, dy, dz = q * cx + slope * x * cosine, slope * y * cosine - q * sx_, (qz + slope * z) * cosine
            ex, ey, ez = q * sx_ + slope * x * sine, q * cx + slope * y * sine, (qz + slope * z) * sine
            sx = tl.where(plus, dx[:, None], tl.where(minus, ex[:, None], sx))
            sy = tl.where(plus, dy[:, None], tl.where(minus, ey[:, None], sy))
            sz = tl.where(plus, dz[:, None], tl.where(minus, ez[:, None], sz))
        cosine_before, sine_before = cosine, sine
        cosine, sine = x * cosine - y * sine, x * sine + y * cosine
    return s, sx, sy, sz


@triton.jit
def load_points(points, order, block_first, block_count, origin, block, BLOCK: tl.constexpr):
    """Row of each point of a block, mask, and coordinates relative to the block's origin."""
    lane = tl.arange(0, BLOCK)
    mask = lane < tl.load(block_count + block)
    first = tl.load(block_first + block)
    row = tl.load(order + first + lane, mask=mask, other=0)
    row = tl.where(mask, row, tl.load(order + first))
    x = tl.load(points + row * 3) - tl.load(origin + block * 3)
    y = tl.load(points + row * 3 + 1) - tl.load(origin + block * 3 + 1)
    z = tl.load(points + row * 3 + 2) - tl.load(origin + block * 3 + 2)
    return row, mask, x, y, z


@triton.jit
def place(image_position, image, origin, block, x, y, z):
    """Displacements of a block from an image; the positions are float64, their difference is rounded once."""
    dx = x - (tl.load(image_position + image * 3) - tl.load(origin + block * 3).to(tl.float64)).to(x.dtype)
    dy = y - (tl.load(image_position + image * 3 + 1) - tl.load(origin + block * 3 + 1).to(tl.float64)).to(x.dtype)
    dz = z - (tl.load(image_position + image * 3 + 2) - tl.load(origin + block * 3 + 2).to(tl.float64)).to(x.dtype)
    return dx, dy, dz, dx * dx + dy * dy + dz * dz


@triton.constexpr_function
def width(l: int) -> int:
    """Columns that hold 2l + 1 orbitals: the next power of two."""
    return 1 << (2 * l).bit_length()


@triton.jit
def forward_l(
    own_type, first_coefficient, entry, scale, nearest2, dx, dy, dz, r2, inside, reach2, group_ptr, group_l,
    group_shell_ptr, shell_order, shell_offset, primitive_ptr, exponents, weights, start, up, down, coefficients,
    channel, n_channels, l: tl.constexpr, STRIDE: tl.constexpr, WIDTH: tl.constexpr, BLOCK: tl.constexpr,
    DERIVATIVES: tl.constexpr,
):  # fmt: skip
    """Field of one site's shells of one l, its gradient and Laplacian (zero without DERIVATIVES), each [BLOCK]."""
    column = tl.arange(0, WIDTH)
    angular = tl.zeros([BLOCK, WIDTH], dx.dtype)
    gradient_factor, laplacian_factor = angular, angular
    value, laplacian = tl.zeros_like(dx), tl.zeros_like(dx)
    gx, gy, gz = tl.zeros_like(dx), tl.zeros_like(dx), tl.zeros_like(dx)
    found = tl.zeros([], tl.int32)
    for group in range(tl.load(group_ptr + own_type), tl.load(group_ptr + own_type + 1)):
        if tl.load(group_l + group) == l:
            for index in range(tl.load(group_shell_ptr + group), tl.load(group_shell_ptr + group + 1)):
                shell = tl.load(shell_order + index)
                at = (first_coefficient + tl.load(shell_offset + shell) + column) * n_channels + channel
                c = tl.load(coefficients + at, mask=column <= 2 * l, other=0.0)[None, :]
                for q in range(tl.load(primitive_ptr + shell), tl.load(primitive_ptr + shell + 1)):
                    if tl.load(reach2 + entry + q) > nearest2:
                        a = tl.load(exponents + q) * scale
                        f = tl.where(inside, tl.load(weights + q) * tl.exp(-a * r2), 0.0)
                        angular += f[:, None] * c
                        if DERIVATIVES:
                            gradient_factor += (-2 * a * f)[:, None] * c
                            laplacian_factor += (a * f * (4 * a * r2 - (6 + 4 * l)))[:, None] * c
                        found += 1
    if found > 0:
        s, sx, sy, sz = columns(dx, dy, dz, r2, l, start, up, down, STRIDE, WIDTH, DERIVATIVES)
        value = tl.sum(angular * s, 1)
        if DERIVATIVES:
            slope = tl.sum(gradient_factor * s, 1)
            gx = tl.sum(angular * sx, 1) + slope * dx
            gy = tl.sum(angular * sy, 1) + slope * dy
            gz = tl.sum(angular * sz, 1) + slope * dz
            laplacian = tl.sum(laplacian_factor * s, 1)
    return value, gx, gy, gz, laplacian


@triton.jit
def forward(
    points, order, block_first, block_count, block_structure, origin, image_ptr, image_site, image_position, site_type,
    coefficient_ptr, reach_ptr, reach2, site_reach2, scalings, group_ptr, group_l, group_shell_ptr, shell_order,
    shell_offset, primitive_ptr, type_primitive, exponents, weights, start, up, down, coefficients, cutoff2, out,
    n_channels, STRIDE: tl.constexpr, L_MAX: tl.constexpr, BLOCK: tl.constexpr, DERIVATIVES: tl.constexpr,
):  # fmt: skip
    """Fields into out [n_points, K]; with DERIVATIVES gradient, value and Laplacian into out [n_points, 5, K]."""
    block, channel = tl.program_id(0).to(tl.int64), tl.program_id(1).to(tl.int64)
    row, mask, x, y, z = load_points(points, order, block_first, block_count, origin, block, BLOCK)
    value, laplacian = tl.zeros_like(x), tl.zeros_like(x)
    gx, gy, gz = tl.zeros_like(x), tl.zeros_like(x), tl.zeros_like(x)
    structure = tl.load(block_structure + block)
    for image in range(tl.load(image_ptr + structure), tl.load(image_ptr + structure + 1)):
        site = tl.load(image_site + image)
        dx, dy, dz, r2 = place(image_position, image, origin, block, x, y, z)
        nearest2 = tl.min(r2).to(tl.float64) * (1.0 - 1e-5)
        if nearest2 <= tl.load(site_reach2 + site):
            inside = r2 <= tl.load(cutoff2)
            own_type = tl.load(site_type + site)
            entry = tl.load(reach_ptr + site) - tl.load(type_primitive + own_type)
            for l in tl.static_range(L_MAX + 1):
                v, vx, vy, vz, vl = forward_l(
                    own_type, tl.load(coefficient_ptr + site), entry, tl.load(scalings + site), nearest2, dx, dy, dz,
                    r2, inside, reach2, group_ptr, group_l, group_shell_ptr, shell_order, shell_offset, primitive_ptr,
                    exponents, weights, start, up, down, coefficients, channel, n_channels, l, STRIDE, width(l), BLOCK,
                    DERIVATIVES,
                )  # fmt: skip
                value += v
                gx += vx
                gy += vy
                gz += vz
                laplacian += vl
    if DERIVATIVES:
        target = out + row * 5 * n_channels + channel
        tl.store(target, gx, mask=mask)
        tl.store(target + n_channels, gy, mask=mask)
        tl.store(target + 2 * n_channels, gz, mask=mask)
        tl.store(target + 3 * n_channels, value, mask=mask)
        tl.store(target + 4 * n_channels, laplacian, mask=mask)
    else:
        tl.store(out + row * n_channels + channel, value, mask=mask)


@triton.jit
def vjp_l(
    group, first_coefficient, entry, scale, nearest2, dx, dy, dz, r2, inside, g, reach2, group_shell_ptr, shell_order,
    shell_offset, primitive_ptr, exponents, weights, start, up, down, coefficients, channel, n_channels, zeroth_moments,
    first_moments, coefficient_grad, l: tl.constexpr, STRIDE: tl.constexpr, WIDTH: tl.constexpr, BLOCK: tl.constexpr,
    GEOMETRY: tl.constexpr, RADIAL: tl.constexpr, COEFFICIENTS: tl.constexpr,
):  # fmt: skip
    """Add the gradients of one site's group of shells; returns the field's gradient (zero without GEOMETRY)."""
    column = tl.arange(0, WIDTH)
    angular = tl.zeros([BLOCK, WIDTH], dx.dtype)
    gradient_factor = angular
    gx, gy, gz = tl.zeros_like(dx), tl.zeros_like(dx), tl.zeros_like(dx)
    s, sx, sy, sz = columns(dx, dy, dz, r2, l, start, up, down, STRIDE, WIDTH, GEOMETRY)
    weighted = s * g[:, None]
    for index in range(tl.load(group_shell_ptr + group), tl.load(group_shell_ptr + group + 1)):
        shell = tl.load(shell_order + index)
        at = (first_coefficient + tl.load(shell_offset + shell) + column) * n_channels + channel
        c = tl.load(coefficients + at, mask=column <= 2 * l, other=0.0)[None, :]
        per_radial = tl.sum(weighted * c, 1)
        radial, derivative = tl.zeros_like(dx), tl.zeros_like(dx)
        found = tl.zeros([], tl.int32)
        for q in range(tl.load(primitive_ptr + shell), tl.load(primitive_ptr + shell + 1)):
            if tl.load(reach2 + entry + q) > nearest2:
                a, w = tl.load(exponents + q) * scale, tl.load(weights + q)
                e = tl.where(inside, tl.exp(-a * r2), 0.0)
                radial += w * e
                derivative += -2 * a * w * e
                found += 1
                if RADIAL:
                    tl.atomic_add(zeroth_moments + entry + q, tl.sum(per_radial * e))
                    tl.atomic_add(first_moments + entry + q, tl.sum(per_radial * r2 * e))
        if found > 0:
            if COEFFICIENTS:
                sums = tl.sum(weighted * radial[:, None], 0)
                tl.atomic_add(coefficient_grad + at, sums, mask=column <= 2 * l)
            if GEOMETRY:
                angular += radial[:, None] * c
                gradient_factor += derivative[:, None] * c
    if GEOMETRY:
        slope = tl.sum(gradient_factor * s, 1)
        gx = tl.sum(angular * sx, 1) + slope * dx
        gy = tl.sum(angular * sy, 1) + slope * dy
        gz = tl.sum(angular * sz, 1) + slope * dz
    return gx, gy, gz


@triton.jit
def vjp(
    points, order, block_first, block_count, block_structure, origin, image_ptr, image_site, image_position, site_type,
    coefficient_ptr, reach_ptr, reach2, site_reach2, scalings, group_ptr, group_l, group_shell_ptr, shell_order,
    shell_offset, primitive_ptr, type_primitive, exponents, weights, start, up, down, coefficients, cutoff2, cotangents,
    n_channels, point_grad, position_grad, zeroth_moments, first_moments, coefficient_grad, STRIDE: tl.constexpr,
    L_MAX: tl.constexpr, BLOCK: tl.constexpr, GEOMETRY: tl.constexpr, RADIAL: tl.constexpr, COEFFICIENTS: tl.constexpr,
):  # fmt: skip
    """Gradients of sum(cotangents * fields), added up atomically.

    Sums over points of Z e and Z r² e of every primitive of every site go to the moments [reach_ptr[-1]], where Z is
    the cotangent times the field per unit radial function and e the primitive's exponential.
    """
    block, channel = tl.program_id(0).to(tl.int64), tl.program_id(1).to(tl.int64)
    row, mask, x, y, z = load_points(points, order, block_first, block_count, origin, block, BLOCK)
    g = tl.load(cotangents + row * n_channels + channel, mask=mask, other=0.0)
    px, py, pz = tl.zeros_like(x), tl.zeros_like(x), tl.zeros_like(x)
    structure = tl.load(block_structure + block)
    for image in range(tl.load(image_ptr + structure), tl.load(image_ptr + structure + 1)):
        site = tl.load(image_site + image)
        dx, dy, dz, r2 = place(image_position, image, origin, block, x, y, z)
        nearest2 = tl.min(r2).to(tl.float64) * (1.0 - 1e-5)
        if nearest2 <= tl.load(site_reach2 + site):
            inside = r2 <= tl.load(cutoff2)
            own_type = tl.load(site_type + site)
            entry = tl.load(reach_ptr + site) - tl.load(type_primitive + own_type)
            gx, gy, gz = tl.zeros_like(x), tl.zeros_like(x), tl.zeros_like(x)
            for group in range(tl.load(group_ptr + own_type), tl.load(group_ptr + own_type + 1)):
                for l in tl.static_range(L_MAX + 1):
                    if tl.load(group_l + group) == l:
                        vx, vy, vz = vjp_l(
                            group, tl.load(coefficient_ptr + site), entry, tl.load(scalings + site), nearest2, dx, dy,
                            dz, r2, inside, g, reach2, group_shell_ptr, shell_order, shell_offset, primitive_ptr,
                            exponents, weights, start, up, down, coefficients, channel, n_channels, zeroth_moments,
                            first_moments, coefficient_grad, l, STRIDE, width(l), BLOCK, GEOMETRY, RADIAL, COEFFICIENTS,
                        )  # fmt: skip
                        gx += vx
                        gy += vy
                        gz += vz
            if GEOMETRY:
                px += gx * g
                py += gy * g
                pz += gz * g
                tl.atomic_add(position_grad + site * 3, -tl.sum(gx * g))
                tl.atomic_add(position_grad + site * 3 + 1, -tl.sum(gy * g))
                tl.atomic_add(position_grad + site * 3 + 2, -tl.sum(gz * g))
    if GEOMETRY:
        tl.atomic_add(point_grad + row * 3, px, mask=mask)
        tl.atomic_add(point_grad + row * 3 + 1, py, mask=mask)
        tl.atomic_add(point_grad + row * 3 + 2, pz, mask=mask)
